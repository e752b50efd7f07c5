//! What volumes and claims look like as Go writes them, for messages that tell what changed: the fields of upstream's
//! internal types, in their order.

use super::super::go_form::{FLAG, Form, LABEL_SELECTOR, NUMBER, POINTER, TEXT};
use super::super::pod::NODE_SELECTOR;

type Field = (&'static str, Form);
type Fields = &'static [Field];

pub const FS_TYPE: (&str, Form) = ("fsType", Form::As("FSType", &TEXT));
pub const FS_TYPE_POINTER: (&str, Form) = ("fsType", Form::As("FSType", &POINTER));
pub const READ_ONLY: (&str, Form) = ("readOnly", FLAG);
const SECRET: Form = Form::Struct(&[("name", TEXT), ("namespace", TEXT)]);
const SECRET_REF: (&str, Form) = ("secretRef", SECRET);

/// The source of a volume, within its spec.
pub const SOURCE: Form = Form::Struct(SOURCES);
const SOURCES: Fields = &[
    ("gcePersistentDisk", Form::As("GCEPersistentDisk", &GCE_DISK)),
    ("awsElasticBlockStore", Form::As("AWSElasticBlockStore", &AWS_DISK)),
    ("hostPath", Form::Struct(&[("path", TEXT), ("type", POINTER)])),
    ("glusterfs", GLUSTERFS),
    ("nfs", Form::As("NFS", &Form::Struct(&[("server", TEXT), ("path", TEXT), READ_ONLY]))),
    ("rbd", Form::As("RBD", &Form::Struct(&rbd(SECRET_REF)))),
    ("quobyte", Form::Struct(QUOBYTE)),
    ("iscsi", Form::As("ISCSI", &Form::Struct(&iscsi(SECRET_REF)))),
    ("flexVolume", Form::Struct(&[("driver", TEXT), FS_TYPE, SECRET_REF, READ_ONLY, ("options", POINTER)])),
    ("cinder", Form::Struct(&[("volumeID", TEXT), FS_TYPE, READ_ONLY, SECRET_REF])),
    ("cephfs", Form::As("CephFS", &Form::Struct(&cephfs(SECRET_REF)))),
    ("fc", Form::As("FC", &FIBRE_CHANNEL)),
    ("flocker", Form::Struct(&[("datasetName", TEXT), ("datasetUUID", TEXT)])),
    ("azureFile", AZURE_FILE),
    ("vsphereVolume", VSPHERE),
    ("azureDisk", Form::Struct(AZURE_DISK)),
    ("photonPersistentDisk", Form::Struct(&[("pdID", TEXT), FS_TYPE])),
    ("portworxVolume", Form::Struct(&[("volumeID", TEXT), FS_TYPE, READ_ONLY])),
    ("scaleIO", Form::Struct(&scale_io(SECRET_REF))),
    ("local", Form::Struct(&[("path", TEXT), FS_TYPE_POINTER])),
    ("storageos", Form::As("StorageOS", &Form::Struct(STORAGE_OS))),
    ("csi", Form::As("CSI", &Form::Struct(CSI))),
];

pub const AFFINITY: Form = Form::Struct(&[("required", NODE_SELECTOR)]);

/// The spec of a VolumeAttachment, which may hold that of a volume.
pub const ATTACHMENT: Form = Form::Struct(&[
    ("attacher", TEXT),
    (
        "source",
        Form::Inline(&[
            ("persistentVolumeName", POINTER),
            (
                "inlineVolumeSpec",
                Form::Struct(&[
                    ("capacity", POINTER),
                    ("", Form::Embedded(SOURCES)),
                    ("accessModes", POINTER),
                    ("claimRef", Form::Struct(OBJECT)),
                    ("persistentVolumeReclaimPolicy", TEXT),
                    ("storageClassName", TEXT),
                    ("mountOptions", POINTER),
                    ("volumeMode", POINTER),
                    ("nodeAffinity", AFFINITY),
                    ("volumeAttributesClassName", POINTER),
                ]),
            ),
        ]),
    ),
    ("nodeName", TEXT),
]);

pub const GCE_DISK: Form =
    Form::Struct(&[("pdName", Form::As("PDName", &TEXT)), FS_TYPE, ("partition", NUMBER), READ_ONLY]);
pub const AWS_DISK: Form = Form::Struct(&[("volumeID", TEXT), FS_TYPE, ("partition", NUMBER), READ_ONLY]);
const GLUSTERFS: Form = Form::Struct(&[
    ("endpoints", Form::As("EndpointsName", &TEXT)),
    ("path", TEXT),
    READ_ONLY,
    ("endpointsNamespace", POINTER),
]);
/// `secret` is the reference to a Secret, which a pod names without its namespace; likewise below.
pub const fn rbd(secret: Field) -> [Field; 8] {
    [
        ("monitors", Form::As("CephMonitors", &POINTER)),
        ("image", Form::As("RBDImage", &TEXT)),
        FS_TYPE,
        ("pool", Form::As("RBDPool", &TEXT)),
        ("user", Form::As("RadosUser", &TEXT)),
        ("keyring", TEXT),
        secret,
        READ_ONLY,
    ]
}
pub const QUOBYTE: Fields =
    &[("registry", TEXT), ("volume", TEXT), READ_ONLY, ("user", TEXT), ("group", TEXT), ("tenant", TEXT)];
pub const fn iscsi(secret: Field) -> [Field; 11] {
    [
        ("targetPortal", TEXT),
        ("iqn", Form::As("IQN", &TEXT)),
        ("lun", NUMBER),
        ("iscsiInterface", Form::As("ISCSIInterface", &TEXT)),
        FS_TYPE,
        READ_ONLY,
        ("portals", POINTER),
        ("chapAuthDiscovery", Form::As("DiscoveryCHAPAuth", &FLAG)),
        ("chapAuthSession", Form::As("SessionCHAPAuth", &FLAG)),
        secret,
        ("initiatorName", POINTER),
    ]
}
pub const fn cephfs(secret: Field) -> [Field; 6] {
    [("monitors", POINTER), ("path", TEXT), ("user", TEXT), ("secretFile", TEXT), secret, READ_ONLY]
}
pub const FIBRE_CHANNEL: Form = Form::Struct(&[
    ("targetWWNs", POINTER),
    ("lun", POINTER),
    FS_TYPE,
    READ_ONLY,
    ("wwids", Form::As("WWIDs", &POINTER)),
]);
const AZURE_FILE: Form =
    Form::Struct(&[("secretName", TEXT), ("shareName", TEXT), READ_ONLY, ("secretNamespace", POINTER)]);
pub const VSPHERE: Form =
    Form::Struct(&[("volumePath", TEXT), FS_TYPE, ("storagePolicyName", TEXT), ("storagePolicyID", TEXT)]);
pub const AZURE_DISK: Fields = &[
    ("diskName", TEXT),
    ("diskURI", Form::As("DataDiskURI", &TEXT)),
    ("cachingMode", POINTER),
    FS_TYPE_POINTER,
    ("readOnly", POINTER),
    ("kind", POINTER),
];
pub const fn scale_io(secret: Field) -> [Field; 10] {
    [
        ("gateway", TEXT),
        ("system", TEXT),
        secret,
        ("sslEnabled", Form::As("SSLEnabled", &FLAG)),
        ("protectionDomain", TEXT),
        ("storagePool", TEXT),
        ("storageMode", TEXT),
        ("volumeName", TEXT),
        FS_TYPE,
        READ_ONLY,
    ]
}
const STORAGE_OS: Fields =
    &[("volumeName", TEXT), ("volumeNamespace", TEXT), FS_TYPE, READ_ONLY, ("secretRef", Form::Struct(OBJECT))];
pub const OBJECT: Fields = &[
    ("kind", TEXT),
    ("namespace", TEXT),
    ("name", TEXT),
    ("uid", Form::As("UID", &TEXT)),
    ("apiVersion", Form::As("APIVersion", &TEXT)),
    ("resourceVersion", TEXT),
    ("fieldPath", TEXT),
];
const CSI: Fields = &[
    ("driver", TEXT),
    ("volumeHandle", TEXT),
    READ_ONLY,
    FS_TYPE,
    ("volumeAttributes", POINTER),
    ("controllerPublishSecretRef", SECRET),
    ("nodeStageSecretRef", SECRET),
    ("nodePublishSecretRef", SECRET),
    ("controllerExpandSecretRef", SECRET),
    ("nodeExpandSecretRef", SECRET),
];

/// A claim's spec.
pub const CLAIM: Form = Form::Struct(CLAIM_SPEC);
pub const CLAIM_SPEC: Fields = &[
    ("accessModes", POINTER),
    ("selector", LABEL_SELECTOR),
    ("resources", Form::Inline(&[("limits", POINTER), ("requests", POINTER)])),
    ("volumeName", TEXT),
    ("storageClassName", POINTER),
    ("volumeMode", POINTER),
    ("dataSource", Form::Struct(&[API_GROUP, ("kind", TEXT), ("name", TEXT)])),
    ("dataSourceRef", Form::Struct(&[API_GROUP, ("kind", TEXT), ("name", TEXT), ("namespace", POINTER)])),
    ("volumeAttributesClassName", POINTER),
];
const API_GROUP: (&str, Form) = ("apiGroup", Form::As("APIGroup", &POINTER));
