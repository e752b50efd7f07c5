//! The versions of the CNI specification that the plugins speak, and what each allows.

use super::{Command, Failure};

/// A version of the specification, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

const TABLE: [(&str, Version); 7] = [
    ("0.1.0", Version::V0_1_0),
    ("0.2.0", Version::V0_2_0),
    ("0.3.0", Version::V0_3_0),
    ("0.3.1", Version::V0_3_1),
    ("0.4.0", Version::V0_4_0),
    ("1.0.0", Version::V1_0_0),
    ("1.1.0", Version::V1_1_0),
];

impl Version {
    /// The version named by a configuration; an empty name means 0.1.0 (the specification's default).
    pub(crate) fn supported(text: &str) -> Result<Version, Failure> {
        let wanted = if text.is_empty() { "0.1.0" } else { text };
        TABLE.iter().find(|(name, _)| *name == wanted).map(|(_, version)| *version).ok_or_else(|| {
            Failure::incompatible_version(
                "incompatible CNI versions",
                format!("config is {wanted:?}, plugin supports {:?}", names()),
            )
        })
    }

    /// CHECK came with 0.4.0, GC and STATUS with 1.1.0.
    pub(crate) fn allows(self, command: Command) -> Result<(), Failure> {
        let since = match command {
            Command::Check => Version::V0_4_0,
            Command::Gc | Command::Status => Version::V1_1_0,
            Command::Add | Command::Del | Command::Version => Version::V0_1_0,
        };
        if self >= since {
            return Ok(());
        }
        Err(Failure::incompatible_version(format!("config version does not allow {}", command.name()), ""))
    }

    pub(crate) fn name(self) -> &'static str {
        TABLE.iter().find(|(_, version)| *version == self).map_or("", |(name, _)| name)
    }
}

fn names() -> Vec<&'static str> {
    TABLE.iter().map(|(name, _)| *name).collect()
}

/// The answer to VERSION.
pub(crate) fn supported() -> String {
    let newest = TABLE[TABLE.len() - 1].0;
    serde_json::json!({ "cniVersion": newest, "supportedVersions": names() }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_versions_are_refused_with_code_1() {
        assert_eq!(Version::supported("").unwrap(), Version::V0_1_0);
        assert_eq!(Version::supported("1.0.0").unwrap(), Version::V1_0_0);
        assert_eq!(Version::supported("2.0.0").unwrap_err().code, 1);
    }

    #[test]
    fn newer_verbs_need_newer_versions() {
        assert!(Version::V0_4_0.allows(Command::Check).is_ok());
        assert_eq!(Version::V0_3_1.allows(Command::Check).unwrap_err().msg, "config version does not allow CHECK");
        assert!(Version::V1_0_0.allows(Command::Gc).is_err());
        assert!(Version::V1_1_0.allows(Command::Status).is_ok());
    }
}
