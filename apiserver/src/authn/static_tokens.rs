//! Tokens from a file (`--token-auth-file`): lines of `token,user,uid[,"group1,group2"]`.

use std::collections::HashMap;

use crate::request::User;

#[derive(Default)]
pub struct StaticTokens(HashMap<String, User>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("token file line {line}: expected token,user,uid[,\"groups\"]")]
pub struct Malformed {
    pub line: usize,
}

impl StaticTokens {
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut tokens = HashMap::new();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        for (position, line) in lines {
            let mut parts = line.splitn(4, ',').map(|part| part.trim().trim_matches('"'));
            let (Some(token), Some(name), Some(uid)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(Malformed { line: position + 1 });
            };
            if token.is_empty() || name.is_empty() {
                return Err(Malformed { line: position + 1 });
            }
            let groups = parts.next().unwrap_or_default().split(',').map(str::trim).filter(|group| !group.is_empty());
            let user = User {
                name: name.to_owned(),
                uid: uid.to_owned(),
                groups: groups.map(str::to_owned).collect(),
                ..User::default()
            };
            tokens.insert(token.to_owned(), user);
        }
        Ok(Self(tokens))
    }

    pub fn find(&self, token: &str) -> Option<User> {
        self.0.get(token).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_groups_and_refuses_short_lines() {
        let tokens = StaticTokens::parse("# comment\nt1,alice,1,\"a,b\"\n\nt2,bob,2\n").unwrap();
        assert_eq!(tokens.find("t1").unwrap().groups, ["a", "b"]);
        assert!(tokens.find("t2").unwrap().groups.is_empty());
        assert_eq!(StaticTokens::parse("x,y").err(), Some(Malformed { line: 1 }));
    }
}
