//! What is told of a credential that was taken, beside whose it is.

use crate::audit::Trail;
use crate::rest::warnings::Warnings;

/// Words for the client, and for the audit log.
#[derive(Debug, Default)]
pub struct Remarks {
    pub warning: Option<&'static str>,
    pub annotations: Vec<(&'static str, String)>,
}

impl Remarks {
    pub fn tell(self, warnings: &Warnings, trail: &Trail) {
        self.warning.into_iter().for_each(|warning| warnings.add(warning));
        self.annotations.into_iter().for_each(|(key, value)| trail.annotate(key, value));
    }
}
