//! Containers, and what is in them.

use super::RESOURCES;
use crate::kinds::go_form::{FLAG, Form, NUMBER, POINTER, TEXT};

macro_rules! container {
    ($($more:expr),*) => {
        Form::Struct(&[
            ("name", TEXT),
            ("image", TEXT),
            ("command", POINTER),
            ("args", POINTER),
            ("workingDir", TEXT),
            ("ports", Form::List(&PORT)),
            ("envFrom", Form::List(&ENV_FROM)),
            ("env", Form::List(&ENV)),
            ("resources", Form::Inline(RESOURCES)),
            ("resizePolicy", Form::List(&Form::Struct(&[("resourceName", TEXT), ("restartPolicy", TEXT)]))),
            ("restartPolicy", POINTER),
            ("restartPolicyRules", Form::List(&RESTART_RULE)),
            ("volumeMounts", Form::List(&MOUNT)),
            ("volumeDevices", Form::List(&Form::Struct(&[("name", TEXT), ("devicePath", TEXT)]))),
            ("livenessProbe", PROBE),
            ("readinessProbe", PROBE),
            ("startupProbe", PROBE),
            ("lifecycle", LIFECYCLE),
            ("terminationMessagePath", TEXT),
            ("terminationMessagePolicy", TEXT),
            ("imagePullPolicy", TEXT),
            ("securityContext", SECURITY_CONTEXT),
            ("stdin", FLAG),
            ("stdinOnce", FLAG),
            ("tty", Form::As("TTY", &FLAG)),
            $($more),*
        ])
    };
}

pub const CONTAINER: Form = container!();
pub const EPHEMERAL: Form = container!(("targetContainerName", TEXT));

const PORT: Form = Form::Struct(&[
    ("name", TEXT),
    ("hostPort", NUMBER),
    ("containerPort", NUMBER),
    ("protocol", TEXT),
    ("hostIP", TEXT),
]);

const OPTIONAL: (&str, Form) = ("optional", POINTER);
const NAMED: Form = Form::Struct(&[("name", TEXT), OPTIONAL]);
const KEY: Form = Form::Struct(&[("name", TEXT), ("key", TEXT), OPTIONAL]);
const ENV_FROM: Form = Form::Struct(&[("prefix", TEXT), ("configMapRef", NAMED), ("secretRef", NAMED)]);
const ENV: Form = Form::Struct(&[("name", TEXT), ("value", TEXT), ("valueFrom", ENV_SOURCE)]);
const ENV_SOURCE: Form = Form::Struct(&[
    ("fieldRef", FIELD),
    ("resourceFieldRef", RESOURCE),
    ("configMapKeyRef", KEY),
    ("secretKeyRef", KEY),
    ("fileKeyRef", Form::Struct(&[("volumeName", TEXT), ("path", TEXT), ("key", TEXT), OPTIONAL])),
]);
pub const FIELD: Form = Form::Struct(&[("apiVersion", Form::As("APIVersion", &TEXT)), ("fieldPath", TEXT)]);
pub const RESOURCE: Form =
    Form::Struct(&[("containerName", TEXT), ("resource", TEXT), ("divisor", Form::Plain("\"0\""))]);

const RESTART_RULE: Form =
    Form::Struct(&[("action", TEXT), ("exitCodes", Form::Struct(&[("operator", TEXT), ("values", POINTER)]))]);
const MOUNT: Form = Form::Struct(&[
    ("name", TEXT),
    ("readOnly", FLAG),
    ("recursiveReadOnly", POINTER),
    ("mountPath", TEXT),
    ("subPath", TEXT),
    ("mountPropagation", POINTER),
    ("subPathExpr", TEXT),
]);

const EXEC: (&str, Form) = ("exec", Form::Struct(&[("command", POINTER)]));
const HTTP_GET: (&str, Form) = ("httpGet", Form::As("HTTPGet", &HTTP));
const HTTP: Form = Form::Struct(&[
    ("path", TEXT),
    ("port", NUMBER),
    ("host", TEXT),
    ("scheme", TEXT),
    ("httpHeaders", Form::As("HTTPHeaders", &Form::List(&Form::Struct(&[("name", TEXT), ("value", TEXT)])))),
]);
const TCP_SOCKET: (&str, Form) =
    ("tcpSocket", Form::As("TCPSocket", &Form::Struct(&[("port", NUMBER), ("host", TEXT)])));
const PROBE: Form = Form::Struct(&[
    EXEC,
    HTTP_GET,
    TCP_SOCKET,
    ("grpc", Form::As("GRPC", &Form::Struct(&[("port", NUMBER), ("service", POINTER)]))),
    ("initialDelaySeconds", NUMBER),
    ("timeoutSeconds", NUMBER),
    ("periodSeconds", NUMBER),
    ("successThreshold", NUMBER),
    ("failureThreshold", NUMBER),
    ("terminationGracePeriodSeconds", POINTER),
]);
const HANDLER: Form = Form::Struct(&[EXEC, HTTP_GET, TCP_SOCKET, ("sleep", Form::Struct(&[("seconds", NUMBER)]))]);
const LIFECYCLE: Form = Form::Struct(&[("postStart", HANDLER), ("preStop", HANDLER), ("stopSignal", POINTER)]);

pub const SECURITY_CONTEXT: Form = Form::Struct(&[
    ("capabilities", Form::Struct(&[("add", POINTER), ("drop", POINTER)])),
    ("privileged", POINTER),
    ("seLinuxOptions", Form::As("SELinuxOptions", &SE_LINUX)),
    ("windowsOptions", WINDOWS),
    ("runAsUser", POINTER),
    ("runAsGroup", POINTER),
    ("runAsNonRoot", POINTER),
    ("readOnlyRootFilesystem", POINTER),
    ("allowPrivilegeEscalation", POINTER),
    ("procMount", POINTER),
    ("seccompProfile", PROFILE),
    ("appArmorProfile", PROFILE),
]);
pub const SE_LINUX: Form = Form::Struct(&[("user", TEXT), ("role", TEXT), ("type", TEXT), ("level", TEXT)]);
pub const WINDOWS: Form = Form::Struct(&[
    ("gmsaCredentialSpecName", Form::As("GMSACredentialSpecName", &POINTER)),
    ("gmsaCredentialSpec", Form::As("GMSACredentialSpec", &POINTER)),
    ("runAsUserName", POINTER),
    ("hostProcess", POINTER),
]);
pub const PROFILE: Form = Form::Struct(&[("type", TEXT), ("localhostProfile", POINTER)]);
