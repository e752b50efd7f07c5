//! The command line of each part, as `up` passes it and as a person would type it.
//!
//! Pure. Upstream's programs take the same arguments: whoever leaves a part out of `up` can start theirs with the file
//! that [`write_all`] leaves. Only `--storage-backend=embedded --data-dir` is Skiff's own.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cni::BRIDGE;
use crate::files;
use crate::kubeconfig::SECURE_PORT;
use crate::layout::Layout;
use crate::part::Part;
use crate::pki::{CA, FRONT_PROXY, KUBELET_CA};
use crate::settings::{Settings, Store};

/// Marks nodes with a DNS server of ours: its Service leads to them.
pub(crate) const DNS_LABEL: &str = "skiff.internal/dns";
/// Where cluster DNS listens on the node's address.
pub(crate) const DNS_PORT: u16 = 10053;

/// Leaves every part's arguments in the data folder, an argument a line, and the kubelet's configuration file.
pub(crate) fn write_all(layout: &Layout, settings: &Settings) -> Result<()> {
    for part in settings.parts() {
        let lines = of(*part, layout, settings)?.join("\n") + "\n";
        files::write(&layout.flags(*part), lines.as_bytes())?;
    }
    let configuration = kubelet_configuration(layout, settings)?;
    let text = serde_yaml_ng::to_string(&configuration).context("encode the kubelet's configuration")?;
    files::write(&layout.path("kubelet.yaml"), text.as_bytes())
}

pub(crate) fn of(part: Part, layout: &Layout, settings: &Settings) -> Result<Vec<String>> {
    Ok(match part {
        Part::KubeApiserver => apiserver(layout, settings),
        Part::KubeControllerManager => controller_manager(layout, settings),
        Part::KubeScheduler => with_kubeconfig(layout, part, ["--bind-address=127.0.0.1", "--leader-elect=false"]),
        Part::Kubelet => kubelet(layout, settings),
        Part::KubeProxy => proxy(layout, settings),
        Part::SkiffDns => dns(layout, settings)?,
        Part::SkiffRouter => router(layout, settings)?,
    })
}

fn apiserver(layout: &Layout, settings: &Settings) -> Vec<String> {
    let pki = |name: &str| layout.text(&format!("pki/{name}"));
    let mut flags = vec![
        format!("--advertise-address={}", settings.node_address),
        "--allow-privileged=true".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        format!("--client-ca-file={}", pki("ca.crt")),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--enable-bootstrap-token-auth=true".to_owned(),
        format!("--kubelet-certificate-authority={}", pki("kubelet-ca.crt")),
        format!("--kubelet-client-certificate={}", pki("kube-apiserver-kubelet-client.crt")),
        format!("--kubelet-client-key={}", pki("kube-apiserver-kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname".to_owned(),
        format!("--proxy-client-cert-file={}", pki("front-proxy-client.crt")),
        format!("--proxy-client-key-file={}", pki("front-proxy-client.key")),
        format!("--requestheader-allowed-names={FRONT_PROXY}"),
        format!("--requestheader-client-ca-file={}", pki("front-proxy-ca.crt")),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        format!("--secure-port={SECURE_PORT}"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        format!("--service-cluster-ip-range={}", settings.service_cidr),
        format!("--tls-cert-file={}", pki("kube-apiserver.crt")),
        format!("--tls-private-key-file={}", pki("kube-apiserver.key")),
    ];
    match &settings.store {
        Store::Embedded => {
            flags.push("--storage-backend=embedded".to_owned());
            flags.push(format!("--data-dir={}", layout.text("store")));
        }
        Store::Etcd { servers } => flags.push(format!("--etcd-servers={servers}")),
    }
    flags
}

fn controller_manager(layout: &Layout, settings: &Settings) -> Vec<String> {
    let mut flags = with_kubeconfig(
        layout,
        Part::KubeControllerManager,
        ["--allocate-node-cidrs=true", "--bind-address=127.0.0.1", "--leader-elect=false"],
    );
    flags.extend([
        format!("--cluster-cidr={}", settings.cluster_cidr),
        format!("--service-cluster-ip-range={}", settings.service_cidr),
        format!("--client-ca-file={}", layout.text("pki/ca.crt")),
        "--controllers=*,bootstrapsigner,tokencleaner".to_owned(),
        format!("--root-ca-file={}", layout.text("pki/ca.crt")),
        format!("--service-account-private-key-file={}", layout.text("pki/sa.key")),
        "--use-service-account-credentials=true".to_owned(),
    ]);
    // What a signer signs is known by who signs it: a kubelet can be no API server.
    for (signer, authority) in
        [("kubelet-serving", KUBELET_CA), ("kubelet-client", CA), ("kube-apiserver-client", CA), ("legacy-unknown", CA)]
    {
        let (certificate, key) = (layout.certificate(authority), layout.key(authority));
        flags.push(format!("--cluster-signing-{signer}-cert-file={}", certificate.display()));
        flags.push(format!("--cluster-signing-{signer}-key-file={}", key.display()));
    }
    flags
}

fn with_kubeconfig<const N: usize>(layout: &Layout, part: Part, more: [&str; N]) -> Vec<String> {
    let file = layout.kubeconfig(part).display().to_string();
    let mut flags: Vec<String> = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
        .map(|flag| format!("--{flag}={file}"))
        .to_vec();
    flags.extend(more.map(String::from));
    flags
}

fn kubelet(layout: &Layout, settings: &Settings) -> Vec<String> {
    let mut flags = vec![
        format!("--config={}", layout.text("kubelet.yaml")),
        format!("--kubeconfig={}", layout.kubeconfig(Part::Kubelet).display()),
        format!("--root-dir={}", layout.text("kubelet")),
        format!("--hostname-override={}", settings.node_name),
        format!("--node-ip={}", settings.node_address),
    ];
    if settings.runs(Part::SkiffDns) {
        flags.push(format!("--node-labels={DNS_LABEL}=true"));
    }
    if settings.joined.is_some() {
        flags.push(format!("--bootstrap-kubeconfig={}", layout.bootstrap_kubeconfig().display()));
        flags.push(format!("--cert-dir={}", layout.kubelet_certificates().display()));
    }
    flags
}

/// What is the same for the kubelets of all nodes.
fn kubelet_of_any(settings: &Settings, authority: &str) -> Result<Value> {
    Ok(json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": authority},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [settings.dns_address()?],
        "clusterDomain": settings.cluster_domain,
    }))
}

/// The configuration of a kubelet that others start on a machine of theirs, with the paths that kubeadm has there, and what
/// kubeadm says of such a machine.
pub(crate) fn kubelet_of_others(settings: &Settings) -> Result<Value> {
    let mut configuration = kubelet_of_any(settings, "/etc/kubernetes/pki/ca.crt")?;
    merge(
        &mut configuration,
        json!({
            "cgroupDriver": "systemd",
            "healthzBindAddress": "127.0.0.1",
            "healthzPort": 10248,
            "staticPodPath": "/etc/kubernetes/manifests",
        }),
    );
    ask_for_certificates(&mut configuration);
    Ok(configuration)
}

fn ask_for_certificates(configuration: &mut Value) {
    configuration["rotateCertificates"] = true.into();
    configuration["serverTLSBootstrap"] = true.into();
}

fn kubelet_configuration(layout: &Layout, settings: &Settings) -> Result<Value> {
    let own = || format!("unix://{}", layout.containerd_socket().display());
    let mut configuration = kubelet_of_any(settings, &layout.certificate(CA).display().to_string())?;
    merge(
        &mut configuration,
        json!({
            // A tenth of a large disk, upstream's threshold, is far more than a node of one machine must keep free.
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "2%", "nodefs.inodesFree": "2%"},
            // Nor are images that somebody loaded by hand to go because other things fill that disk.
            "imageGCHighThresholdPercent": 97,
            "imageGCLowThresholdPercent": 96,
            "containerRuntimeEndpoint": settings.container_runtime_endpoint.clone().unwrap_or_else(own),
            // Said, as the default of another's kubelet in this one's place is the opposite.
            "failCgroupV1": false,
            "failSwapOn": false,
            "podLogsDir": layout.path("logs/pods"),
            "staticPodPath": layout.path("manifests"),
        }),
    );
    match settings.joined {
        Some(_) => ask_for_certificates(&mut configuration),
        None => merge(
            &mut configuration,
            json!({
                "tlsCertFile": layout.certificate("kubelet-server"),
                "tlsPrivateKeyFile": layout.key("kubelet-server"),
            }),
        ),
    }
    if !settings.cgroup_root.is_empty() {
        configuration["cgroupRoot"] = settings.cgroup_root.as_str().into();
    }
    Ok(configuration)
}

/// Adds the fields of one object to another.
fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

/// On a port of its own at the node's address, where the Service leads: the usual port may be taken by the machine's
/// own resolver.
fn dns(layout: &Layout, settings: &Settings) -> Result<Vec<String>> {
    Ok(vec![
        format!("--kubeconfig={}", layout.kubeconfig(Part::SkiffDns).display()),
        format!("--bind-address={}", settings.node_address),
        format!("--port={DNS_PORT}"),
        format!("--cluster-domain={}", settings.cluster_domain),
        format!("--cluster-dns={}", settings.dns_address()?),
        format!("--client-cidrs={}", settings.cluster_cidr),
    ])
}

fn router(layout: &Layout, settings: &Settings) -> Result<Vec<String>> {
    Ok(vec![
        format!("--kubeconfig={}", layout.kubeconfig(Part::SkiffRouter).display()),
        format!("--hostname-override={}", settings.node_name),
        format!("--backend={}", settings.router_backend.name()),
        format!("--bridge={BRIDGE}"),
        format!("--cluster-cidr={}", settings.cluster_cidr),
        format!("--cluster-dns={}", settings.dns_address()?),
    ])
}

fn proxy(layout: &Layout, settings: &Settings) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", layout.kubeconfig(Part::KubeProxy).display()),
        format!("--cluster-cidr={}", settings.cluster_cidr),
        format!("--hostname-override={}", settings.node_name),
        "--proxy-mode=iptables".to_owned(),
    ]
}
