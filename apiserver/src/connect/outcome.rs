//! How a command's end is told: the kubelet's error stream read, and written anew for the client.
//!
//! Enter at [`of_error_stream`]. Pure.

use machinery::status::Status;
use serde_json::{Value, json};

const NON_ZERO_EXIT_CODE: &str = "NonZeroExitCode";
const EXIT_CODE: &str = "ExitCode";

/// The status for the client, by what came on the error stream (protocol v4: a `Status`), which ended properly or broke off.
pub fn of_error_stream(told: &[u8], ended: bool) -> Value {
    if told.is_empty() {
        return if ended { success() } else { failure("the connection to the kubelet ended before the command did") };
    }
    let status: Value = match serde_json::from_slice(told) {
        Ok(status) => status,
        Err(error) => {
            let told = String::from_utf8_lossy(told);
            return failure(&format!("error stream protocol error: {error} in {told:?}"));
        }
    };
    match status["status"].as_str() {
        Some("Success") => success(),
        Some("Failure") if status["reason"] == NON_ZERO_EXIT_CODE => exit(&status),
        Some("Failure") => failure(status["message"].as_str().unwrap_or_default()),
        _ => failure("error stream protocol error: unknown error"),
    }
}

/// A failure of this server or the kubelet, as the error channel carries it.
pub fn of_status(status: &Status) -> Value {
    let mut value = status.to_value();
    if let Some(object) = value.as_object_mut() {
        object.remove("kind");
        object.remove("apiVersion");
    }
    value
}

fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

fn failure(why: &str) -> Value {
    of_status(&Status::internal_error(why))
}

fn exit(status: &Value) -> Value {
    let causes = status["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(cause) = causes.iter().find(|cause| cause["reason"] == EXIT_CODE) else {
        return failure(&format!("error stream protocol error: no {EXIT_CODE} cause given"));
    };
    let text = cause["message"].as_str().unwrap_or_default();
    let Ok(code) = text.parse::<u8>() else {
        return failure(&format!("error stream protocol error: invalid exit code value {text:?}"));
    };
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
        "reason": NON_ZERO_EXIT_CODE,
        "details": {"causes": [{"reason": EXIT_CODE, "message": code.to_string()}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told() {
        let exited = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: x",
            "reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        let table = [
            ("", true, "Success", Value::Null),
            (
                "",
                false,
                "Failure",
                json!("Internal error occurred: the connection to the kubelet ended before the command did"),
            ),
            (r#"{"metadata":{},"status":"Success"}"#, true, "Success", Value::Null),
            (
                exited,
                true,
                "Failure",
                json!("command terminated with non-zero exit code: command terminated with exit code 3"),
            ),
            (r#"{"status":"Failure","message":"no"}"#, true, "Failure", json!("Internal error occurred: no")),
            (
                r#"{"status":"Failure","reason":"NonZeroExitCode"}"#,
                true,
                "Failure",
                json!("Internal error occurred: error stream protocol error: no ExitCode cause given"),
            ),
            ("{}", true, "Failure", json!("Internal error occurred: error stream protocol error: unknown error")),
        ];
        for (told, ended, status, message) in table {
            let outcome = of_error_stream(told.as_bytes(), ended);
            assert_eq!((&outcome["status"], &outcome["message"]), (&json!(status), &message), "{told}");
        }
        assert_eq!(of_error_stream(exited.as_bytes(), true)["details"]["causes"][0]["message"], "3");
    }
}
