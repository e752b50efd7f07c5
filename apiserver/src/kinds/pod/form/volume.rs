//! Volumes. Many sources are as those of PersistentVolumes; what names a Secret here names it in the pod's namespace.

use super::{Fields, LABEL_SELECTOR, REFERENCE};
use crate::kinds::go_form::{Form, METADATA, NUMBER, POINTER, TEXT};
use crate::kinds::pod::form::container::{FIELD, RESOURCE};
use crate::kinds::volume::form as persistent;
use crate::kinds::volume::form::{FS_TYPE, FS_TYPE_POINTER, READ_ONLY};

const SECRET_REF: (&str, Form) = ("secretRef", REFERENCE);
const OPTIONAL: (&str, Form) = ("optional", POINTER);
const DEFAULT_MODE: (&str, Form) = ("defaultMode", POINTER);

pub const VOLUME: Form = Form::Struct(&[
    ("name", TEXT),
    ("hostPath", Form::Struct(&[("path", TEXT), ("type", POINTER)])),
    ("emptyDir", Form::Struct(&[("medium", TEXT), ("sizeLimit", POINTER)])),
    ("gcePersistentDisk", Form::As("GCEPersistentDisk", &persistent::GCE_DISK)),
    ("awsElasticBlockStore", Form::As("AWSElasticBlockStore", &persistent::AWS_DISK)),
    ("gitRepo", Form::Struct(&[("repository", TEXT), ("revision", TEXT), ("directory", TEXT)])),
    ("secret", Form::Struct(&[("secretName", TEXT), ITEMS, DEFAULT_MODE, OPTIONAL])),
    ("nfs", Form::As("NFS", &Form::Struct(&[("server", TEXT), ("path", TEXT), READ_ONLY]))),
    ("iscsi", Form::As("ISCSI", &Form::Struct(&persistent::iscsi(SECRET_REF)))),
    ("glusterfs", Form::Struct(&[("endpoints", Form::As("EndpointsName", &TEXT)), ("path", TEXT), READ_ONLY])),
    ("persistentVolumeClaim", Form::Struct(&[("claimName", TEXT), READ_ONLY])),
    ("rbd", Form::As("RBD", &Form::Struct(&persistent::rbd(SECRET_REF)))),
    ("quobyte", Form::Struct(persistent::QUOBYTE)),
    ("flexVolume", Form::Struct(&[("driver", TEXT), FS_TYPE, SECRET_REF, READ_ONLY, ("options", POINTER)])),
    ("cinder", Form::Struct(&[("volumeID", TEXT), FS_TYPE, READ_ONLY, SECRET_REF])),
    ("cephfs", Form::As("CephFS", &Form::Struct(&persistent::cephfs(SECRET_REF)))),
    ("flocker", Form::Struct(&[("datasetName", TEXT), ("datasetUUID", TEXT)])),
    ("downwardAPI", Form::Struct(&[FIELDS, DEFAULT_MODE])),
    ("fc", Form::As("FC", &persistent::FIBRE_CHANNEL)),
    ("azureFile", Form::Struct(&[("secretName", TEXT), ("shareName", TEXT), READ_ONLY])),
    ("configMap", Form::Struct(&[("name", TEXT), ITEMS, DEFAULT_MODE, OPTIONAL])),
    ("vsphereVolume", persistent::VSPHERE),
    ("azureDisk", Form::Struct(persistent::AZURE_DISK)),
    ("photonPersistentDisk", Form::Struct(&[("pdID", TEXT), FS_TYPE])),
    ("projected", Form::Struct(&[("sources", Form::List(&PROJECTION)), DEFAULT_MODE])),
    ("portworxVolume", Form::Struct(&[("volumeID", TEXT), FS_TYPE, READ_ONLY])),
    ("scaleIO", Form::Struct(&persistent::scale_io(SECRET_REF))),
    ("storageos", Form::As("StorageOS", &Form::Struct(STORAGE_OS))),
    ("csi", Form::As("CSI", &Form::Struct(CSI))),
    ("ephemeral", Form::Struct(&[("volumeClaimTemplate", CLAIM_TEMPLATE)])),
    ("image", Form::Struct(&[("reference", TEXT), ("pullPolicy", TEXT)])),
]);

const ITEMS: (&str, Form) = ("items", Form::List(&Form::Struct(&[("key", TEXT), ("path", TEXT), ("mode", POINTER)])));
const FIELDS: (&str, Form) = ("items", Form::List(&DOWNWARD));
const DOWNWARD: Form =
    Form::Struct(&[("path", TEXT), ("fieldRef", FIELD), ("resourceFieldRef", RESOURCE), ("mode", POINTER)]);

const PROJECTION: Form = Form::Struct(&[
    ("secret", Form::Struct(&[("name", TEXT), ITEMS, OPTIONAL])),
    ("downwardAPI", Form::Struct(&[FIELDS])),
    ("configMap", Form::Struct(&[("name", TEXT), ITEMS, OPTIONAL])),
    ("serviceAccountToken", Form::Struct(&[("audience", TEXT), ("expirationSeconds", NUMBER), ("path", TEXT)])),
    ("clusterTrustBundle", TRUST_BUNDLE),
    ("podCertificate", CERTIFICATE),
]);
const TRUST_BUNDLE: Form = Form::Struct(&[
    ("name", POINTER),
    ("signerName", POINTER),
    ("labelSelector", LABEL_SELECTOR),
    OPTIONAL,
    ("path", TEXT),
]);
const CERTIFICATE: Form = Form::Struct(&[
    ("signerName", TEXT),
    ("keyType", TEXT),
    ("maxExpirationSeconds", POINTER),
    ("credentialBundlePath", TEXT),
    ("keyPath", TEXT),
    ("certificateChainPath", TEXT),
    ("userAnnotations", POINTER),
]);

const STORAGE_OS: Fields = &[("volumeName", TEXT), ("volumeNamespace", TEXT), FS_TYPE, READ_ONLY, SECRET_REF];
const CSI: Fields = &[
    ("driver", TEXT),
    ("readOnly", POINTER),
    FS_TYPE_POINTER,
    ("volumeAttributes", POINTER),
    ("nodePublishSecretRef", REFERENCE),
];
const CLAIM_TEMPLATE: Form = Form::Struct(&[("metadata", METADATA), ("spec", Form::Inline(persistent::CLAIM_SPEC))]);
