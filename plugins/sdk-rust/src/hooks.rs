//! The hooks beside `policy`: a component exports those that its policy implements, and no others.

use crate::{Disposition, Field, Operation, Outbound, Payload, Receipt, Reply};

pub use outcome::exports::oncegate::policy::outcome::Settlement;
pub use presentation::exports::oncegate::policy::presentation::{Changes, Problem, Wording};
pub use resolution::exports::oncegate::policy::resolution::Finding;

/// A policy that judges answers which no status rule has settled.
pub trait Outcome {
    /// The settlement; none: the gateway's own table decides. An `Err` means unknown.
    fn settle(&self, receipt: &Receipt, reply: &Reply) -> Result<Option<Settlement>, String>;
}

/// A policy that learns whether a lost attempt took effect.
pub trait Resolution {
    /// The question for the upstream; none: nothing can be asked.
    fn question(&self, receipt: &Receipt) -> Result<Option<Outbound>, String>;

    /// The finding from the answer to `asked`. An `Err` means still unknown.
    fn reading(&self, receipt: &Receipt, asked: &Outbound, answer: &Reply) -> Result<Finding, String>;
}

/// A policy that speaks the caller's protocol. Both hooks may be left as they are.
pub trait Presentation {
    /// The differences between a duplicate's answer and the kept one; none: as kept. An `Err` shows nothing.
    fn present(
        &self,
        _receipt: &Receipt,
        _operation: &Operation,
        _reply: &Reply,
    ) -> Result<Option<Changes>, String> {
        Ok(None)
    }

    /// A problem of the gateway's in the caller's words; none, or an `Err`: a problem document.
    fn explain(&self, _operation: &Operation, _problem: &Problem) -> Result<Option<Wording>, String> {
        Ok(None)
    }
}

impl From<Disposition> for Settlement {
    fn from(disposition: Disposition) -> Self {
        Self { disposition, memo: None, retention_seconds: None }
    }
}

impl Changes {
    /// Changes the body and nothing else.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self { set: Vec::new(), remove: Vec::new(), body: Some(body.into()) }
    }
}

impl Wording {
    /// An answer with this status, content type and body.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, fields: vec![crate::field("content-type", content_type)], body: body.into() }
    }
}

impl Outbound {
    /// A GET of this path, which begins with a slash and has the query.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: "GET".into(), path: path.into(), fields: Vec::new(), body: None }
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push(crate::field(name, value));
        self
    }
}

impl Reply {
    /// An answer to replay.
    pub fn new(status: u16, fields: Vec<Field>, body: impl Into<Vec<u8>>) -> Self {
        Self { status, fields, trailers: Vec::new(), payload: Payload::Whole(body.into()), complete: true }
    }

    /// The first value of a field that is shown; none where the answer has none.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.name == name).map(|field| field.value.as_str())
    }
}

macro_rules! interface {
    ($name:ident, $wit:literal, $world:literal, $export:literal) => {
        #[allow(missing_docs, reason = "generated from the interface, which has the words")]
        pub mod $name {
            wit_bindgen::generate!({
                path: "../../wit/v0.1",
                inline: $wit,
                world: $world,
                with: { "oncegate:policy/types@0.1.0": crate::bindings::oncegate::policy::types },
                pub_export_macro: true,
                export_macro_name: $export,
                default_bindings_module: "oncegate_policy::hooks",
            });
        }
    };
}
interface!(
    outcome,
    "package oncegate:sdk-outcome; world outcome { export oncegate:policy/outcome@0.1.0; }",
    "oncegate:sdk-outcome/outcome",
    "export_outcome"
);
interface!(
    resolution,
    "package oncegate:sdk-resolution; world resolution { export oncegate:policy/resolution@0.1.0; }",
    "oncegate:sdk-resolution/resolution",
    "export_resolution"
);
interface!(
    presentation,
    "package oncegate:sdk-presentation; world presentation { export oncegate:policy/presentation@0.1.0; }",
    "oncegate:sdk-presentation/presentation",
    "export_presentation"
);

/// Exports the functions of a trait. Used by [`crate::policy!`].
#[doc(hidden)]
#[macro_export]
macro_rules! hook {
    (Outcome $component:ident $policy:ty) => {
        impl $crate::hooks::outcome::exports::oncegate::policy::outcome::Guest for $component {
            fn settle(
                receipt: $crate::Receipt,
                reply: $crate::Reply,
            ) -> Result<Option<$crate::Settlement>, ::std::string::String> {
                Self::with(|policy| $crate::Outcome::settle(policy, &receipt, &reply))
            }
        }
        $crate::hooks::outcome::export_outcome!($component with_types_in $crate::hooks::outcome);
    };
    (Resolution $component:ident $policy:ty) => {
        impl $crate::hooks::resolution::exports::oncegate::policy::resolution::Guest for $component {
            fn question(
                receipt: $crate::Receipt,
            ) -> Result<Option<$crate::Outbound>, ::std::string::String> {
                Self::with(|policy| $crate::Resolution::question(policy, &receipt))
            }

            fn reading(
                receipt: $crate::Receipt,
                asked: $crate::Outbound,
                answer: $crate::Reply,
            ) -> Result<$crate::Finding, ::std::string::String> {
                Self::with(|policy| $crate::Resolution::reading(policy, &receipt, &asked, &answer))
            }
        }
        $crate::hooks::resolution::export_resolution!($component with_types_in $crate::hooks::resolution);
    };
    (Presentation $component:ident $policy:ty) => {
        impl $crate::hooks::presentation::exports::oncegate::policy::presentation::Guest for $component {
            fn present(
                receipt: $crate::Receipt,
                operation: $crate::Operation,
                reply: $crate::Reply,
            ) -> Result<Option<$crate::Changes>, ::std::string::String> {
                Self::with(|policy| $crate::Presentation::present(policy, &receipt, &operation, &reply))
            }

            fn explain(
                operation: $crate::Operation,
                problem: $crate::Problem,
            ) -> Result<Option<$crate::Wording>, ::std::string::String> {
                Self::with(|policy| $crate::Presentation::explain(policy, &operation, &problem))
            }
        }
        $crate::hooks::presentation::export_presentation!($component with_types_in $crate::hooks::presentation);
    };
}
