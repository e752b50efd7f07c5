//! Chain names and comments, the same as upstream's plugins give, so that either can take the other's rules away.

use sha2::{Digest, Sha512};

/// `CNI-`, the prefix, then as many hexadecimal digits of SHA-512(network name + container id) as make 28 characters
/// (iptables allows 28).
pub(crate) fn chain(prefix: &str, network: &str, container_id: &str) -> String {
    let mut name = format!("CNI-{prefix}{}", hash(&format!("{network}{container_id}")));
    name.truncate(28);
    name
}

pub(crate) fn hash(text: &str) -> String {
    Sha512::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first four bytes make the name of the host's end of a veth pair; `attempt` gives another when it is taken.
pub(crate) fn veth(network: &str, container_id: &str, ifname: &str, attempt: u32) -> String {
    let digits = hash(&format!("{network}/{container_id}/{ifname}/{attempt}"));
    format!("veth{}", &digits[..8])
}

pub(crate) fn comment(network: &str, container_id: &str) -> String {
    trim(format!("name: \"{network}\" id: \"{container_id}\""))
}

/// iptables comments hold 255 characters.
pub(crate) fn trim(mut comment: String) -> String {
    if comment.len() > 255 {
        comment.truncate(253);
        comment.push_str("...");
    }
    comment
}

/// A comment as one quoted word of a restore file.
pub(crate) fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        // SHA-512 of "test1234" begins with these digits.
        assert_eq!(chain("", "test", "1234"), "CNI-2bbe0c48b91a7d1b8a6753a8");
        assert_eq!(chain("DN-", "kube", "abc").len(), 28);
        assert!(veth("n", "c", "eth0", 0).len() == 12 && veth("n", "c", "eth0", 0) != veth("n", "c", "eth0", 1));
    }

    #[test]
    fn comments_are_quoted_for_restore_files() {
        assert_eq!(quote(&comment("kube", "abc")), r#""name: \"kube\" id: \"abc\"""#);
        assert_eq!(trim("x".repeat(300)).len(), 256);
    }
}
