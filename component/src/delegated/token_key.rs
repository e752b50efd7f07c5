//! What stands for a token in the cache: short whatever is shown, and no token once the request is over.

use sha2::{Digest as _, Sha256};

/// Says nothing about a token to who has not the key.
pub(super) type Digest = [u8; 32];

/// Of one process and never told. Its length is fixed, so that no two of key and token run together alike.
pub(super) struct TokenKey([u8; 32]);

impl TokenKey {
    pub(super) fn from_os() -> Self {
        Self(rand::random())
    }

    pub(super) fn digest(&self, token: &str) -> Digest {
        Sha256::new().chain_update(self.0).chain_update(token).finalize().into()
    }
}

#[test]
fn each_token_has_its_digest_and_each_process_its_own() {
    let (one, other) = (TokenKey([1; 32]), TokenKey([2; 32]));
    assert_eq!(one.digest("token"), one.digest("token"));
    assert_ne!(one.digest("token"), one.digest("token2"));
    assert_ne!(one.digest("token"), other.digest("token"));
}
