//! Where a pod may run, and beside whom.

use crate::kinds::go_form::{Form, LABEL_SELECTOR, NUMBER, POINTER, TEXT};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub const AFFINITY: Form =
    Form::Struct(&[("nodeAffinity", NODE_AFFINITY), ("podAffinity", POD_AFFINITY), ("podAntiAffinity", POD_AFFINITY)]);

const NODE_AFFINITY: Form = Form::Struct(&[
    (REQUIRED, NODE_SELECTOR),
    (PREFERRED, Form::List(&Form::Struct(&[("weight", NUMBER), ("preference", Form::Inline(NODE_TERM))]))),
]);
pub const NODE_SELECTOR: Form = Form::Struct(&[("nodeSelectorTerms", NODE_TERMS)]);
pub const NODE_TERMS: Form = Form::List(&Form::Struct(NODE_TERM));
pub const NODE_TERM: super::Fields =
    &[("matchExpressions", Form::List(&REQUIREMENT)), ("matchFields", Form::List(&REQUIREMENT))];
const REQUIREMENT: Form = Form::Struct(&[("key", TEXT), ("operator", TEXT), ("values", POINTER)]);

const POD_AFFINITY: Form = Form::Struct(&[
    (REQUIRED, Form::List(&Form::Struct(POD_TERM))),
    (PREFERRED, Form::List(&Form::Struct(&[("weight", NUMBER), ("podAffinityTerm", Form::Inline(POD_TERM))]))),
]);
const POD_TERM: super::Fields = &[
    ("labelSelector", LABEL_SELECTOR),
    ("namespaces", POINTER),
    ("topologyKey", TEXT),
    ("namespaceSelector", LABEL_SELECTOR),
    ("matchLabelKeys", POINTER),
    ("mismatchLabelKeys", POINTER),
];

pub const TOLERATION: Form = Form::Struct(&[
    ("key", TEXT),
    ("operator", TEXT),
    ("value", TEXT),
    ("effect", TEXT),
    ("tolerationSeconds", POINTER),
]);
pub const SPREAD: Form = Form::Struct(&[
    ("maxSkew", NUMBER),
    ("topologyKey", TEXT),
    ("whenUnsatisfiable", TEXT),
    ("labelSelector", LABEL_SELECTOR),
    ("minDomains", POINTER),
    ("nodeAffinityPolicy", POINTER),
    ("nodeTaintsPolicy", POINTER),
    ("matchLabelKeys", POINTER),
]);
