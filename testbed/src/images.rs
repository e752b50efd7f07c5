//! Test images from what Debian's packages installed on this machine: busybox-static and nginx.
//!
//! They stand in for the images of the same name: same entry points, same user-visible behaviour as far as tests and
//! the demonstration look (nginx serves its welcome page on port 80 and logs to the container's streams).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use oci_archive::{Config, Image, Layer};

/// A busybox image as an OCI archive, from Debian's busybox-static, and with perl, which every Debian has, the one applet
/// that is missed in that.
pub fn busybox(reference: &str) -> Result<Vec<u8>> {
    let mut layer = base()?;
    copy(&mut layer, "/usr/bin/busybox", "/bin/busybox")?;
    link_applets(&mut layer)?;
    for file in libraries(PERL)?.iter().map(String::as_str).chain([PERL]) {
        copy(&mut layer, file, file)?;
    }
    layer.file("bin/udpsvd", 0o755, include_bytes!("udpsvd.pl"))?;
    let config = Config { cmd: vec!["sh".into()], env: path(), ..Config::default() };
    Ok(Image { reference: reference.into(), config, layers: vec![layer] }.to_archive()?)
}

/// An nginx image as an OCI archive, from Debian's nginx and the libraries that `ldd` names.
pub fn nginx(reference: &str) -> Result<Vec<u8>> {
    let mut layer = base()?;
    copy(&mut layer, "/usr/sbin/nginx", "/usr/sbin/nginx")?;
    for library in libraries("/usr/sbin/nginx")? {
        copy(&mut layer, &library, &library)?;
    }
    copy(&mut layer, "/etc/nginx/mime.types", "/etc/nginx/mime.types")?;
    copy(&mut layer, "/usr/share/nginx/html/index.html", "/usr/share/nginx/html/index.html")?;
    copy(&mut layer, "/usr/bin/busybox", "/bin/busybox")?;
    link_applets(&mut layer)?;
    layer.file("etc/nginx/nginx.conf", 0o644, NGINX_CONF.as_bytes())?;
    layer.folder("var/lib/nginx", 0o755)?;
    layer.folder("var/log/nginx", 0o755)?;
    layer.link("var/log/nginx/access.log", "/dev/stdout")?;
    layer.link("var/log/nginx/error.log", "/dev/stderr")?;
    let config = Config {
        cmd: ["nginx", "-g", "daemon off;"].map(String::from).to_vec(),
        env: path(),
        exposed_ports: BTreeMap::from([("80/tcp".to_owned(), BTreeMap::new())]),
        stop_signal: "SIGQUIT".into(),
        ..Config::default()
    };
    Ok(Image { reference: reference.into(), config, layers: vec![layer] }.to_archive()?)
}

/// An image with programs that resolve names, `curl` and `getent`, from a Debian machine. busybox's static C library
/// cannot: it crashes on names.
pub fn tools(reference: &str) -> Result<Vec<u8>> {
    let mut layer = base()?;
    let programs = ["/usr/bin/curl", "/usr/bin/getent"];
    let mut files = BTreeSet::from(programs.map(String::from));
    for program in programs {
        files.extend(libraries(program)?);
    }
    for file in &files {
        copy(&mut layer, file, file)?;
    }
    copy(&mut layer, "/usr/bin/busybox", "/bin/busybox")?;
    link_applets(&mut layer)?;
    layer.file("etc/nsswitch.conf", 0o644, b"hosts: files dns\n")?;
    let config = Config { cmd: vec!["sh".into()], env: path(), ..Config::default() };
    Ok(Image { reference: reference.into(), config, layers: vec![layer] }.to_archive()?)
}

/// An image of the sandbox program: a busybox that sleeps, for runtimes that are told to pull one.
pub fn pause(reference: &str) -> Result<Vec<u8>> {
    let mut layer = base()?;
    copy(&mut layer, "/usr/bin/busybox", "/bin/busybox")?;
    let entrypoint = ["/bin/busybox", "sleep", "2147483647"].map(String::from).to_vec();
    let config = Config { entrypoint, ..Config::default() };
    Ok(Image { reference: reference.into(), config, layers: vec![layer] }.to_archive()?)
}

const PERL: &str = "/usr/bin/perl";

const NGINX_CONF: &str = "\
user nobody nogroup;
worker_processes 1;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /var/log/nginx/access.log;
    server {
        listen 80;
        listen [::]:80;
        root /usr/share/nginx/html;
        index index.html;
    }
}
";

/// Every command that busybox can be called as.
fn link_applets(layer: &mut Layer) -> Result<()> {
    let output = Command::new("/usr/bin/busybox").arg("--list").output().context("run busybox")?;
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    for applet in list.lines().filter(|applet| *applet != "busybox") {
        layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    Ok(())
}

fn path() -> Vec<String> {
    vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()]
}

/// What any image has: users, a temporary folder, the places that runtimes mount on.
fn base() -> Result<Layer> {
    let mut layer = Layer::default();
    for folder in ["dev", "proc", "sys", "run", "root", "home", "var/run"] {
        layer.folder(folder, 0o755)?;
    }
    layer.folder("tmp", 0o1777)?;
    let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
    layer.file("etc/passwd", 0o644, users.as_bytes())?;
    layer.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    Ok(layer)
}

fn copy(layer: &mut Layer, from: &str, to: &str) -> Result<()> {
    let content = std::fs::read(from).with_context(|| format!("read {from}: is its Debian package installed?"))?;
    let executable = from.contains("bin/") || from.contains(".so");
    Ok(layer.file(to, if executable { 0o755 } else { 0o644 }, &content)?)
}

/// The shared libraries of a program and its loader, as absolute paths.
fn libraries(program: &str) -> Result<BTreeSet<String>> {
    let output = Command::new("ldd").arg(program).output().context("run ldd")?;
    if !output.status.success() {
        bail!("ldd {program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/') && Path::new(word).exists());
    Ok(paths.map(String::from).collect())
}
