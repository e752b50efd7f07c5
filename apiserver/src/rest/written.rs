//! What a write made of an object, and the answer that tells it.

use bytes::Bytes;
use machinery::status::Status;
use serde_json::Value;

use super::Call;
use super::current::set_resource_version;
use super::negotiate::Accept;
use super::respond;
use crate::cache::splice;
use crate::http_body::Response;
use crate::store::Revision;
use crate::stored;

/// An object as a write left it, or as one would have with dry run.
pub struct Written {
    pub object: Value,
    /// The same as JSON text, where it was stored as such.
    text: Option<Bytes>,
}

impl Written {
    /// Of a dry run.
    pub fn not_stored(object: Value) -> Self {
        Self { object, text: None }
    }

    /// Of an object that its last update ended: as that update has it, at the version that was its last.
    pub fn removed(mut object: Value, last: Revision) -> Self {
        set_resource_version(&mut object, last);
        Self::not_stored(object)
    }

    /// `value` is what was stored of the object, at `revision`.
    pub fn stored(mut object: Value, value: &[u8], revision: Revision) -> Self {
        set_resource_version(&mut object, revision);
        let text = stored::is_json(value).then(|| splice::resource_version(value, revision).ok());
        Self { object, text: text.flatten() }
    }

    /// An object that was just encoded for the store is not encoded once more for its client.
    pub fn answer(self, call: &Call, accept: Accept, code: u16, now: i64) -> Result<Response, Status> {
        match self.text.filter(|_| respond::shows_as_stored(accept, &call.served)) {
            Some(text) => Ok(respond::bytes_response(code, accept.format, text)),
            None => respond::object(call, accept, code, &self.object, now),
        }
    }
}
