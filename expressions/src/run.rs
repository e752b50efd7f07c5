//! Runs expressions over values.
//!
//! Enter at [`Program::new`]. Of the functions that are declared, those of URLs, addresses, sets and lists are checked
//! only: to run one is an error, which says so.

use std::sync::{Arc, LazyLock};

use cel::{Context, Env, ExecutionError, extensions};

use super::values::{self, Value};
use super::with_macros;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = with_macros(Env::stdlib().with_optional_support(true));
    for add in [extensions::strings, values::functions] {
        // Each name is declared once.
        if let Err(error) = environment.add_extension(add) {
            tracing::error!(%error, "functions of expressions are left out");
        }
    }
    Arc::new(environment)
});

/// An expression that can be run.
pub struct Program(cel::Program);

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").finish_non_exhaustive()
    }
}

impl Program {
    /// Reads an expression; types and costs are [`crate::compile`]'s. The error is for people.
    pub fn new(source: &str) -> Result<Self, String> {
        ENVIRONMENT.compile(source).map(Self).map_err(|errors| errors.to_string())
    }

    /// Whether the expression holds of these variables. The error is for people.
    pub fn holds(&self, variables: &[(&str, Value)]) -> Result<bool, String> {
        let mut context = Context::with_env(ENVIRONMENT.clone());
        for (name, value) in variables {
            context.add_variable_as_val(*name, value.to_val());
        }
        match self.0.execute(&context) {
            Ok(cel::Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err("CEL result could not be converted to bool".to_owned()),
            // Upstream's words.
            Err(ExecutionError::NoSuchKey(key)) => Err(format!("no such key: {key}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use machinery::quantity::Quantity;

    use super::*;

    fn device() -> Value {
        let map = |entries: &[(&str, Value)]| {
            entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
        };
        let own = map(&[
            ("model", Value::Text("A100".into())),
            ("cores", Value::Int(8)),
            ("fast", Value::Bool(true)),
            ("driverVersion", Value::version("1.10.0").unwrap()),
        ]);
        let memory = map(&[("memory", Value::Quantity(Quantity::parse("40Gi").unwrap()))]);
        Value::Map(map(&[
            ("driver", Value::Text("gpu.example.com".into())),
            ("attributes", Value::Open(map(&[("gpu.example.com", Value::Map(own))]))),
            ("capacity", Value::Open(map(&[("gpu.example.com", Value::Map(memory))]))),
        ]))
    }

    fn run(source: &str) -> Result<bool, String> {
        Program::new(source)?.holds(&[("device", device())])
    }

    #[test]
    fn what_holds_and_what_does_not() {
        let rows = [
            ("true", true),
            ("device.driver == 'gpu.example.com'", true),
            ("device.attributes['gpu.example.com'].model == 'A100'", true),
            ("device.attributes['gpu.example.com'].model.startsWith('H')", false),
            ("device.attributes['gpu.example.com'].model.lowerAscii() == 'a100'", true),
            ("device.attributes['gpu.example.com'].model.matches('^A[0-9]+$')", true),
            ("device.attributes['gpu.example.com'].cores >= 8", true),
            ("device.attributes['gpu.example.com'].fast", true),
            ("device.capacity['gpu.example.com'].memory.compareTo(quantity('40Gi')) == 0", true),
            ("device.capacity['gpu.example.com'].memory.isGreaterThan(quantity('40Gi'))", false),
            ("device.capacity['gpu.example.com'].memory.isLessThan(quantity('41Gi'))", true),
            ("quantity('1500m').add(quantity('500m')).asInteger() == 2", true),
            ("quantity('50k').sub(20).sign() == 1 && isQuantity('1Gi') && !isQuantity('x')", true),
            ("device.attributes['gpu.example.com'].driverVersion.isGreaterThan(semver('1.9.0'))", true),
            ("device.attributes['gpu.example.com'].driverVersion.compareTo(semver('v1.10', true)) == 0", true),
            ("device.attributes['gpu.example.com'].driverVersion.minor() == 10", true),
            ("'other.example.com' in device.attributes", false),
            ("'gpu.example.com' in device.attributes", true),
            ("has(device.attributes['other.example.com'].model)", false),
            ("has(device.attributes['gpu.example.com'].model)", true),
            ("device.attributes['gpu.example.com'].?missing.orValue('x') == 'x'", true),
            ("cel.bind(gpu, device.attributes['gpu.example.com'], gpu.fast && gpu.cores == 8)", true),
            ("device.attributes.exists(domain, domain == 'gpu.example.com')", true),
            ("size(device.attributes) == 1", true),
        ];
        for (source, want) in rows {
            assert_eq!(run(source), Ok(want), "{source}");
        }
    }

    #[test]
    fn faults_are_told() {
        let missing = run("device.attributes['other.example.com'].model == 'x'");
        assert_eq!(missing.unwrap_err(), "no such key: model");
        assert!(run("quantity('x').sign() == 0").is_err());
        assert!(run("device.driver").is_err(), "no truth");
        assert!(run("1 +").is_err());
    }
}
