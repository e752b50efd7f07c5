//! Selectors of devices: expressions of the Common Expression Language over one `device`.
//!
//! Only the length is judged here; expressions are compiled where devices are chosen.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

const SELECTORS_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;

pub fn all(object: &Value, path: &Path) -> ErrorList {
    super::each(meta::list(object, "selectors"), SELECTORS_MAX, &path.child("selectors"), |selector, at| {
        let (cel, at) = (&selector["cel"], at.child("cel"));
        if !cel.is_object() {
            return vec![Error::required(&at, "")];
        }
        let is_long = meta::text(cel, "expression").len() > EXPRESSION_BYTES_MAX;
        is_long.then(|| Error::too_long(&at.child("expression"), EXPRESSION_BYTES_MAX)).into_iter().collect()
    })
}
