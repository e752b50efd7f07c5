//! The request: what the runtime says in the environment (specification, section 2).

use super::Failure;

/// The verb in `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

impl Command {
    fn parse(text: &str) -> Option<Command> {
        Some(match text {
            "ADD" => Command::Add,
            "DEL" => Command::Del,
            "CHECK" => Command::Check,
            "STATUS" => Command::Status,
            "GC" => Command::Gc,
            "VERSION" => Command::Version,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Status => "STATUS",
            Command::Gc => "GC",
            Command::Version => "VERSION",
        }
    }

    /// The variables without which the verb makes no sense.
    fn required(self) -> &'static [&'static str] {
        match self {
            Command::Add | Command::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
            Command::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Command::Gc | Command::Status => &["CNI_PATH"],
            Command::Version => &[],
        }
    }
}

/// One call of a plugin. `stdin` is the configuration, unchanged, as a delegated plugin must get it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) command: Command,
    pub(crate) container_id: String,
    /// Path of the network namespace; empty when the runtime has none any more (DEL).
    pub(crate) netns: String,
    pub(crate) ifname: String,
    pub(crate) args: String,
    /// `CNI_PATH`: where delegated plugins are looked for, colon separated.
    pub(crate) path: String,
    pub(crate) netns_override: bool,
    pub(crate) stdin: Vec<u8>,
}

impl Request {
    pub(crate) fn from_env(env: impl Fn(&str) -> Option<String>, stdin: &[u8]) -> Result<Request, Failure> {
        let text = |name: &str| env(name).unwrap_or_default();
        let verb = text("CNI_COMMAND");
        if verb.is_empty() {
            return Err(Failure::environment("required env variables [CNI_COMMAND] missing"));
        }
        let command =
            Command::parse(&verb).ok_or_else(|| Failure::environment(format!("unknown CNI_COMMAND: {verb}")))?;
        let missing: Vec<&str> = command.required().iter().copied().filter(|name| text(name).is_empty()).collect();
        if !missing.is_empty() {
            return Err(Failure::environment(format!("required env variables [{}] missing", missing.join(","))));
        }
        let request = Request {
            command,
            container_id: text("CNI_CONTAINERID"),
            netns: text("CNI_NETNS"),
            ifname: text("CNI_IFNAME"),
            args: text("CNI_ARGS"),
            path: text("CNI_PATH"),
            netns_override: matches!(text("CNI_NETNS_OVERRIDE").to_lowercase().as_str(), "1" | "true"),
            stdin: stdin.to_vec(),
        };
        if matches!(command, Command::Add | Command::Check | Command::Del) {
            validate_container_id(&request.container_id)?;
            validate_ifname(&request.ifname)?;
        }
        Ok(request)
    }

    /// The value of one key of `CNI_ARGS` (`K=V;K2=V2`). Keys outside `known` are an error unless `IgnoreUnknown=1`.
    pub(crate) fn arg(&self, known: &str) -> Result<Option<String>, Failure> {
        let mut found = None;
        let mut unknown = Vec::new();
        let mut ignore_unknown = false;
        for pair in self.args.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| Failure::environment(format!("ARGS: invalid pair {pair:?}")))?;
            match key {
                "IgnoreUnknown" => ignore_unknown = matches!(value.to_lowercase().as_str(), "1" | "true"),
                key if key == known => found = Some(value.to_string()),
                _ => unknown.push(pair),
            }
        }
        if !unknown.is_empty() && !ignore_unknown {
            return Err(Failure::environment(format!("ARGS: unknown args {unknown:?}")));
        }
        Ok(found)
    }
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`: the rule for container ids and network names.
pub(crate) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn validate_container_id(id: &str) -> Result<(), Failure> {
    if is_identifier(id) {
        return Ok(());
    }
    Err(Failure::environment(format!("invalid characters in containerID {id:?}")))
}

/// The kernel's rule for interface names (`dev_valid_name`).
fn validate_ifname(name: &str) -> Result<(), Failure> {
    let fault = match name {
        "." | ".." => "interface name is . or ..",
        name if name.len() > 15 => "interface name is too long, must be at most 15 characters",
        name if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) => {
            "interface name contains / or : or whitespace characters"
        }
        _ => return Ok(()),
    };
    Err(Failure::environment(format!("{fault}: {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&str, &str)]) -> Result<Request, Failure> {
        Request::from_env(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()), b"{}")
    }

    #[test]
    fn what_is_missing_is_named() {
        let failure = request(&[("CNI_COMMAND", "ADD"), ("CNI_PATH", "/x")]).unwrap_err();
        assert_eq!(failure.code, 4);
        assert_eq!(failure.msg, "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing");
        assert_eq!(request(&[("CNI_COMMAND", "HOP")]).unwrap_err().msg, "unknown CNI_COMMAND: HOP");
    }

    #[test]
    fn names_are_checked() {
        let with = |id: &str, ifname: &str| {
            request(&[("CNI_COMMAND", "DEL"), ("CNI_PATH", "/x"), ("CNI_CONTAINERID", id), ("CNI_IFNAME", ifname)])
        };
        assert!(with("abc-1.2_3", "eth0").is_ok());
        assert_eq!(with("../x", "eth0").unwrap_err().code, 4);
        assert_eq!(with("a", "eth/0").unwrap_err().code, 4);
        assert_eq!(with("a", "abcdefghijklmnop").unwrap_err().code, 4);
    }

    #[test]
    fn unknown_args_are_refused_unless_told() {
        let with = |args: &str| {
            request(&[("CNI_COMMAND", "STATUS"), ("CNI_PATH", "/x"), ("CNI_ARGS", args)]).unwrap().arg("IP")
        };
        assert_eq!(with("IP=10.0.0.2").unwrap().as_deref(), Some("10.0.0.2"));
        assert_eq!(with("IgnoreUnknown=1;K8S_POD_NAME=a").unwrap(), None);
        assert!(with("K8S_POD_NAME=a").is_err());
        assert!(with("IP").is_err());
    }
}
