//! Which implementation stands in which place: read from the command line. Pure but for a look whether files are there.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail, ensure};

/// The parts that upstream has too, by the names of its programs.
pub(super) const PARTS: [&str; 5] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];
/// Programs that a container runtime calls.
pub(super) const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];
/// What else can be another's: a store, a DNS server, a client.
const OTHERS: [&str; 3] = ["etcd", "coredns", "kubectl"];

/// `NAME=PATH` of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Swap {
    name: String,
    path: String,
}

impl std::str::FromStr for Swap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("NAME=PATH is wanted")?;
        let known = PARTS.iter().chain(&PLUGINS).chain(&OTHERS).chain(&["cni"]);
        if !known.clone().any(|it| *it == name) {
            let names: Vec<&str> = known.copied().collect();
            return Err(format!("{name} is none of {}", names.join(", ")));
        }
        if path.is_empty() {
            return Err(format!("no path for {name}"));
        }
        Ok(Self { name: name.to_owned(), path: path.to_owned() })
    }
}

/// Programs by the names of the places that they take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cast(BTreeMap<String, String>);

impl Cast {
    /// `all_from` is a folder whose programs take all places of their names but those of `ours`; a swap by name comes
    /// before it. `exists` says whether there is a file.
    pub(super) fn new(
        swaps: &[Swap],
        all_from: Option<&str>,
        ours: &[String],
        exists: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let mut cast = BTreeMap::new();
        for name in PARTS.iter().chain(&PLUGINS).chain(&OTHERS).filter(|name| !ours.iter().any(|it| it == *name)) {
            let path = all_from.map(|folder| format!("{folder}/{name}"));
            cast.extend(path.filter(|path| exists(path)).map(|path| ((*name).to_owned(), path)));
        }
        for Swap { name, path } in swaps {
            match name.as_str() {
                "cni" => cast.extend(PLUGINS.map(|plugin| (plugin.to_owned(), format!("{path}/{plugin}")))),
                _ => drop(cast.insert(name.clone(), path.clone())),
            }
        }
        ensure!(!cast.is_empty(), "nothing is swapped: give --swap, or --all-from a folder with programs");
        if let Some((name, path)) = cast.iter().find(|(_, path)| !exists(path)) {
            bail!("there is no {path} to be the {name}");
        }
        Ok(Self(cast))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Another's programs in places of `names`.
    pub(super) fn of<'a>(&'a self, names: &'a [&'static str]) -> impl Iterator<Item = (&'static str, &'a str)> {
        names.iter().filter_map(|name| Some((*name, self.get(name)?)))
    }

    /// Only Skiff's own API server has a store of its own.
    pub(super) fn needs_etcd(&self) -> bool {
        self.get("etcd").is_some() || self.get("kube-apiserver").is_some()
    }
}

impl fmt::Display for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|(name, path)| format!("{name} ({path})")).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(swaps: &[&str], all_from: Option<&str>, ours: &[&str]) -> Result<Cast> {
        let swaps: Vec<Swap> = swaps.iter().map(|text| text.parse().unwrap()).collect();
        let ours: Vec<String> = ours.iter().map(|name| (*name).to_owned()).collect();
        Cast::new(&swaps, all_from, &ours, |path| !path.contains("portmap") && path.starts_with("/up"))
    }

    #[test]
    fn both_directions_can_be_said() {
        let one = cast(&["kube-scheduler=/up/scheduler"], None, &[]).unwrap();
        assert_eq!(one.of(&PARTS).collect::<Vec<_>>(), [("kube-scheduler", "/up/scheduler")]);
        assert!(!one.needs_etcd());

        let others = cast(&["kubelet=/up/other/kubelet"], Some("/up"), &["kube-proxy", "bridge"]).unwrap();
        assert_eq!(others.get("kube-apiserver"), Some("/up/kube-apiserver"));
        assert_eq!(others.get("kubelet"), Some("/up/other/kubelet"));
        assert_eq!((others.get("kube-proxy"), others.get("bridge"), others.get("portmap")), (None, None, None));
        assert!(others.needs_etcd(), "another's API server has no store of its own");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["kube-scheduler", "kube-scheduler=", "scheduler=/up/x"] {
            assert!(text.parse::<Swap>().is_err(), "{text}");
        }
        for (swaps, all_from) in [(&[][..], None), (&["kubelet=/nowhere"][..], None), (&[][..], Some("/nowhere"))] {
            assert!(cast(swaps, all_from, &[]).is_err(), "{swaps:?} {all_from:?}");
        }
        let error = cast(&["cni=/up/cni"], None, &[]).unwrap_err().to_string();
        assert!(error.contains("/up/cni/portmap"), "{error}");
    }
}
