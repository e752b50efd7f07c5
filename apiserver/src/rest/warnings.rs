//! Words for the client that refuse nothing, told in `Warning` headers (RFC 7234 section 5.5; Kubernetes API concept:
//! "Warnings"), of a refused request too.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use http::header::WARNING;
use machinery::field::quote;

use crate::http_body::Response;

/// Upstream's limits, in characters: of all warnings of an answer, and then of each.
const TOTAL_MAX: usize = 4096;
const ITEM_MAX: usize = 256;

/// The warnings of one request, each once, in order. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }

    pub fn extend(&self, texts: impl IntoIterator<Item = String>) {
        texts.into_iter().for_each(|text| self.add(text));
    }

    /// Puts them into the answer's headers.
    pub fn tell(&self, response: &mut Response) {
        let texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for text in within_limits(&texts) {
            if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", quote(&text))) {
                response.headers_mut().append(WARNING, value);
            }
        }
    }
}

/// All of them whole, or, where that is too much, the beginning of each until it is too much again.
fn within_limits(texts: &[String]) -> Vec<String> {
    let length = |text: &String| text.chars().count();
    if texts.iter().map(length).sum::<usize>() <= TOTAL_MAX {
        return texts.to_vec();
    }
    let mut told = 0;
    let shortened = texts.iter().map(|text| text.chars().take(ITEM_MAX).collect::<String>());
    shortened
        .take_while(|text| {
            let fits = told < TOTAL_MAX;
            told += length(text);
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_and_too_many_are_cut() {
        let warnings = Warnings::default();
        warnings.extend(["a", "", "a", "b"].map(str::to_owned));
        assert_eq!(*warnings.0.lock().unwrap(), ["a", "b"]);
        let long: Vec<String> = (0..30).map(|number| format!("{number}{}", "x".repeat(300))).collect();
        let told = within_limits(&long);
        assert_eq!((told.len(), told[0].len()), (TOTAL_MAX / ITEM_MAX, ITEM_MAX));
        assert_eq!(within_limits(&long[..10]), long[..10]);
    }
}
