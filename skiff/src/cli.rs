//! The command line of `skiff` itself; the parts have their own flags.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use component::bootstrap_token::Token as BootstrapToken;
use component::flags::parse_duration;
use ipnet::IpNet;

use crate::layout::DEFAULT_DATA_DIR;
use crate::part::Part;
use crate::pki::Pin;
use crate::settings::RouterBackend;

/// A complete, small Kubernetes: all parts in one program.
#[derive(Debug, Parser)]
#[command(name = "skiff", disable_version_flag = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Any part runs alone, with upstream's flags: skiff kube-apiserver --help, and likewise kube-controller-manager,
kube-scheduler, kubelet, kube-proxy, skiff-dns, skiff-router. A link with one of these names to this program does the same.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the cluster on this machine and wait until its node is Ready.
    Up(Box<Up>),
    /// Make this machine a node of another machine's cluster, and wait until it is Ready.
    Join(Box<Join>),
    /// Make, list and delete the tokens that machines join with.
    #[command(subcommand)]
    Token(Token),
    /// Bring images onto this machine without a registry.
    #[command(subcommand)]
    Image(Image),
    /// Stop the cluster and its containers; keep its data.
    Down(DataDir),
    /// Stop the cluster and remove every trace of it.
    Reset(DataDir),
    /// Say what runs and whether the node is Ready; exit 1 when it is not.
    Status(DataDir),
    /// Print the administrator's kubeconfig.
    Kubeconfig(DataDir),
    /// Print the version.
    Version,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DataDir {
    /// Folder of everything that the cluster keeps.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    pub(crate) data_dir: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// Where objects are stored: a file of the API server's own, or an etcd that runs already.
    #[arg(long, value_enum)]
    pub(crate) store: Option<StoreKind>,
    /// URLs of the etcd servers, comma-separated.
    #[arg(long, value_name = "URLS")]
    pub(crate) etcd_servers: Option<String>,
    /// Stay in the foreground and log to standard error; SIGTERM or Ctrl-C stops the parts and leaves the containers.
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Name of this node [default: the host name].
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Address of this node [default: that of the device with the default route].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) node_ip: Option<IpAddr>,
    /// Addresses of pods [default: 10.244.0.0/16].
    #[arg(long, value_name = "CIDR")]
    pub(crate) cluster_cidr: Option<IpNet>,
    /// Addresses of Services [default: 10.96.0.0/12].
    #[arg(long, value_name = "CIDR")]
    pub(crate) service_cidr: Option<IpNet>,
    /// Parent of all pods' cgroups [default: the root].
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_root: Option<String>,
    /// How packets get to other nodes' pods [default: direct].
    #[arg(long, value_enum)]
    pub(crate) router_backend: Option<RouterBackend>,
    /// Leave a part out, to run it yourself with the arguments in DIR/flags/PART; repeat for more.
    #[arg(long, value_enum, value_name = "PART")]
    pub(crate) without: Vec<Part>,
    /// Use this CRI runtime instead of a containerd of the cluster's own.
    #[arg(long, value_name = "unix://SOCKET")]
    pub(crate) container_runtime_endpoint: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Join {
    /// The cluster's API server.
    #[arg(value_name = "HOST:PORT")]
    pub(crate) endpoint: String,
    /// The token, by which this machine and the cluster believe each other.
    #[arg(long, value_name = "ID.SECRET")]
    pub(crate) token: BootstrapToken,
    /// Hash of the public key of the cluster's authority; repeat for more that may be.
    #[arg(long, value_name = "sha256:HEX", required = true, value_delimiter = ',')]
    pub(crate) discovery_token_ca_cert_hash: Vec<Pin>,
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// Name of this node [default: the host name].
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Address of this node [default: that of the device with the default route].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) node_ip: Option<IpAddr>,
    /// Parent of all pods' cgroups [default: the root].
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_root: Option<String>,
    /// Leave a part out, to run it yourself with the arguments in DIR/flags/PART; repeat for more.
    #[arg(long, value_enum, value_name = "PART")]
    pub(crate) without: Vec<Part>,
    /// Use this CRI runtime instead of a containerd of the node's own.
    #[arg(long, value_name = "unix://SOCKET")]
    pub(crate) container_runtime_endpoint: Option<String>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token and print the command that joins with it.
    Create(CreateToken),
    /// List the tokens that there are.
    List(DataDir),
    /// Delete a token: nobody joins with it any more; who has joined stays.
    Delete(DeleteToken),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CreateToken {
    /// The token [default: a random one].
    #[arg(value_name = "ID.SECRET")]
    pub(crate) token: Option<BootstrapToken>,
    /// How long it holds, such as 2h; 0 is for ever.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub(crate) ttl: Duration,
    /// What it is for, for those who list tokens.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) description: String,
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DeleteToken {
    /// The token, or the part before its dot.
    #[arg(value_name = "ID")]
    pub(crate) token: String,
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Image {
    /// Load images from archives, and keep them: image garbage collection passes over what was loaded.
    Load(LoadImage),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LoadImage {
    /// What `docker save`, `podman save`, `skopeo copy … oci-archive:` or `ctr images export` wrote.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    Embedded,
    Etcd,
}
