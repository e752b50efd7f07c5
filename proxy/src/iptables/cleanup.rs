//! `--cleanup`: removes every rule and chain of kube-proxy, and leaves all others.

use super::base::{CANARY, CANARY_TABLES, JUMPS, own_chains, shared_chains};
use super::names::is_service_chain;
use super::tool::{Tool, ToolError};
use super::transaction::Saved;

/// Removes what is there; nothing is an error when it is not.
pub(crate) async fn cleanup(tool: Tool) -> Result<(), ToolError> {
    let text = removal(&tool.save().await?);
    if text.is_empty() { Ok(()) } else { tool.restore(&text).await }
}

/// The restore text. The kubelet's KUBE-FIREWALL stays.
fn removal(saved: &Saved) -> String {
    let mut text = String::new();
    for table in CANARY_TABLES {
        let all = saved.chains.get(table).cloned().unwrap_or_default();
        let is_ours = |chain: &String| {
            chain == CANARY
                || own_chains(table).contains(&chain.as_str())
                || shared_chains(table).contains(&chain.as_str())
                || (table == "nat" && is_service_chain(chain))
        };
        let ours: Vec<String> = all.into_iter().filter(is_ours).collect();
        if ours.is_empty() {
            continue;
        }
        let rules = saved.rules.get(table).into_iter().flatten();
        let jumps = rules.filter(|rule| {
            let words: Vec<&str> = rule.split_whitespace().collect();
            let target = words.iter().position(|word| *word == "-j").and_then(|at| words.get(at + 1));
            let is_from_kernel = JUMPS.iter().any(|jump| jump.table == table && words.get(1) == Some(&jump.from));
            is_from_kernel && target.is_some_and(|target| ours.iter().any(|chain| chain == target))
        });
        let mut lines: Vec<String> = ours.iter().map(|chain| format!(":{chain} - [0:0]")).collect();
        lines.extend(jumps.map(|rule| rule.replacen("-A ", "-D ", 1)));
        lines.extend(ours.iter().map(|chain| format!("-X {chain}")));
        text.push_str(&format!("*{table}\n{}\nCOMMIT\n", lines.join("\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ours_goes() {
        let saved = Saved::parse(
            "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-SEP-X - [0:0]\n:DOCKER - [0:0]\n:KUBE-PROXY-CANARY - [0:0]\n\
             -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A PREROUTING -j DOCKER\nCOMMIT\n",
        );
        assert_eq!(
            removal(&saved),
            "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SEP-X - [0:0]\n:KUBE-PROXY-CANARY - [0:0]\n\
             -D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -X KUBE-SERVICES\n-X KUBE-SEP-X\n-X KUBE-PROXY-CANARY\nCOMMIT\n"
        );
        assert_eq!(removal(&Saved::default()), "");
    }
}
