//! Policies for Oncegate in Rust.
//!
//! A policy says what makes two requests the same operation. This is a whole one:
//!
//! ```ignore
//! use oncegate_policy::*;
//!
//! struct ById;
//!
//! impl Policy for ById {
//!     fn configure(_settings: &str) -> Result<(Self, Plan), String> {
//!         Ok((Self, Plan::new("by-id/1").reads(&["x-request-id"])))
//!     }
//!
//!     fn decide(&self, operation: &Operation) -> Result<Verdict, String> {
//!         Ok(match operation.field("x-request-id") {
//!             Some(id) => Guard::new([method(), path(), text(id)]).into(),
//!             None => refuse("key-missing", "send an x-request-id"),
//!         })
//!     }
//! }
//!
//! policy!(ById);
//! ```
//!
//! A policy that judges answers, learns lost outcomes or speaks the caller's protocol implements
//! [`Outcome`], [`Resolution`] or [`Presentation`] beside [`Policy`], and says so:
//! `policy!(ById: Outcome + Presentation);`.
//!
//! The types are those of `policy.wit`, whose comments are the rules. This crate adds the state that
//! `configure` makes for the other hooks, short ways to write what is usual, and [`Settings`].

#![warn(missing_docs)]

#[doc(hidden)]
#[allow(missing_docs, reason = "generated from the interface, which has the words")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        world: "key-policy",
        pub_export_macro: true,
        export_macro_name: "export_policy",
        default_bindings_module: "oncegate_policy::bindings",
    });
}
#[doc(hidden)]
pub mod hooks;
mod settings;

#[doc(hidden)]
pub use bindings::{export_policy, exports::oncegate::policy::policy::Guest};

pub use bindings::oncegate::policy::types::{
    Attribute, Disposition, Field, Fingerprint, Found, Guard, Operation, Outbound, Part, Payload,
    PayloadWant, Plan, Receipt, Refusal, Reply, Shape, StatusRule, Verdict, WhenUnknown, WhileRunning,
};
pub use bindings::oncegate::policy::{digest, log};
pub use hooks::{Changes, Finding, Outcome, Presentation, Problem, Resolution, Settlement, Wording};
pub use settings::{Settings, Value};

/// A policy: the state that it keeps of its settings, and its decisions. Both functions are pure. An `Err`
/// means that the policy failed, and the caller gets a 503.
pub trait Policy: Sized + Send + Sync + 'static {
    /// Called first, once in each instance, with the settings as a JSON object. An `Err` tells
    /// the operator what is wrong with the settings.
    fn configure(settings: &str) -> Result<(Self, Plan), String>;

    /// Called for each request that the plan is about.
    fn decide(&self, operation: &Operation) -> Result<Verdict, String>;
}

/// Makes the crate a policy, once: `policy!(TheType);`, or with the other traits that it implements,
/// `policy!(TheType: Outcome + Resolution + Presentation);`.
#[macro_export]
macro_rules! policy {
    ($policy:ty $(: $first:ident $(+ $more:ident)*)?) => {
        const _: () = {
            struct Component;
            ::std::thread_local! {
                static POLICY: ::std::cell::OnceCell<::std::mem::ManuallyDrop<$policy>> = const { ::std::cell::OnceCell::new() };
            }

            impl Component {
                fn with<T>(hook: impl FnOnce(&$policy) -> Result<T, ::std::string::String>) -> Result<T, ::std::string::String> {
                    POLICY.with(|p| hook(&**p.get().ok_or("a hook was called before configure")?))
                }
            }

            impl $crate::Guest for Component {
                fn configure(settings: ::std::string::String) -> Result<$crate::Plan, ::std::string::String> {
                    let (policy, plan) = <$policy as $crate::Policy>::configure(&settings)?;
                    POLICY.with(|p| p.set(::std::mem::ManuallyDrop::new(policy))).map_err(|_| "configure was called a second time")?;
                    Ok(plan)
                }

                fn decide(operation: $crate::Operation) -> Result<$crate::Verdict, ::std::string::String> {
                    Self::with(|policy| $crate::Policy::decide(policy, &operation))
                }
            }

            $crate::export_policy!(Component with_types_in $crate::bindings);
            $($crate::hook!($first Component $policy); $($crate::hook!($more Component $policy);)*)?
        };
    };
}

impl Plan {
    /// A plan that asks for nothing. `key_schema` names how keys are made with these settings, such
    /// as `orders/1 id=x-request-id`.
    pub fn new(key_schema: impl Into<String>) -> Self {
        Self {
            key_schema: key_schema.into(),
            methods: Vec::new(),
            request_fields: Vec::new(),
            request_payload: PayloadWant::Nothing,
            response_fields: Vec::new(),
            response_payload: PayloadWant::Nothing,
            outcomes: Vec::new(),
            options: Vec::new(),
        }
    }

    /// Asks for these fields, in lower case, and pseudo-fields such as `:query`.
    pub fn reads(self, names: &[&str]) -> Self {
        Self { request_fields: names.iter().map(|name| String::from(*name)).collect(), ..self }
    }

    /// Asks for these places of the body, by JSON pointer.
    pub fn reads_body(self, pointers: &[&str]) -> Self {
        let pointers = pointers.iter().map(|pointer| String::from(*pointer)).collect();
        Self { request_payload: PayloadWant::Pointers(pointers), ..self }
    }

    /// Asks for these fields and trailers of answers, for [`Outcome::settle`].
    pub fn reads_answers(self, names: &[&str]) -> Self {
        Self { response_fields: names.iter().map(|name| String::from(*name)).collect(), ..self }
    }

    /// Asks for these places of the body of answers, for [`Outcome::settle`].
    pub fn reads_answers_body(self, pointers: &[&str]) -> Self {
        let pointers = pointers.iter().map(|pointer| String::from(*pointer)).collect();
        Self { response_payload: PayloadWant::Pointers(pointers), ..self }
    }
}

impl Operation {
    /// The first value of a declared field; none where the request has none.
    pub fn field<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// All values of a declared field, as they arrived.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |field| field.name == name).map(|field| field.value.as_str())
    }

    /// The text at a pointer of the plan, by the pointer's place there; none if there is no such text.
    pub fn text_at(&self, pointer: usize) -> Option<&str> {
        self.payload.text_at(pointer)
    }

    /// The media type of the body without parameters, in lower case. The plan must read `content-type`. Empty if
    /// the request says none.
    pub fn media_type(&self) -> String {
        let essence = self.field("content-type").and_then(|value| value.split(';').next());
        essence.unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// What services take a body of this media type for. The plan must read `content-type`.
    pub fn media(&self) -> Media {
        match self.media_type().as_str() {
            "application/x-www-form-urlencoded" | "multipart/form-data" => Media::Form,
            "" | "text/plain" => Media::Json,
            other if other.ends_with("json") => Media::Json,
            _ => Media::Other,
        }
    }
}

/// What services take a body for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// JSON: it says so, or it says nothing, or that it is text.
    Json,
    /// A form, of either kind.
    Form,
    /// No document.
    Other,
}

impl Payload {
    /// Why a body that is there can't be read at the pointers of the plan; none if it can, or if there is none.
    pub fn unread(&self) -> Option<&str> {
        match self {
            Self::Malformed(why) => Some(why),
            Self::Oversize => Some("it is too large"),
            Self::Absent | Self::Withheld | Self::Selected(_) | Self::Whole(_) => None,
        }
    }

    /// The value at a pointer of the plan, by the pointer's place there; none if nothing was selected.
    pub fn found_at(&self, pointer: usize) -> Option<&Found> {
        match self {
            Self::Selected(places) => places.get(pointer),
            Self::Absent | Self::Withheld | Self::Whole(_) | Self::Oversize | Self::Malformed(_) => None,
        }
    }

    /// The text at a pointer of the plan, by the pointer's place there; none if there is no such text.
    pub fn text_at(&self, pointer: usize) -> Option<&str> {
        match self.found_at(pointer) {
            Some(Found::Text(text)) => Some(text),
            Some(Found::Nothing | Found::Json(_)) | None => None,
        }
    }

    /// The whole body; none if there is no body, or not all of it is shown.
    pub fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Absent | Self::Withheld | Self::Selected(_) | Self::Oversize | Self::Malformed(_) => None,
        }
    }
}

impl Guard {
    /// A guard with this key, which means the same operation only with an equal request. The route decides
    /// everything else.
    pub fn new(key: impl Into<Vec<Part>>) -> Self {
        Self {
            key: key.into(),
            fingerprint: Fingerprint::Request,
            while_running: WhileRunning::RouteDefault,
            when_unknown: WhenUnknown::RouteDefault,
            retention_seconds: None,
            tombstone_seconds: None,
            first_sent: None,
            forward: Vec::new(),
            memo: None,
            labels: Vec::new(),
            options: Vec::new(),
        }
    }
}

impl From<Guard> for Verdict {
    fn from(guard: Guard) -> Self {
        Self::Guard(guard)
    }
}

/// The verdict that a request is not protected, for this reason.
pub fn bypass(reason: impl Into<String>) -> Verdict {
    Verdict::Bypass(reason.into())
}

/// The verdict that a request is turned away with 400 and this code; the detail is for the caller to read.
pub fn refuse(code: &str, detail: impl Into<String>) -> Verdict {
    Verdict::Refuse(Refusal { status: 400, code: code.into(), detail: detail.into(), fields: Vec::new() })
}

/// A field of this name, in lower case.
pub fn field(name: &str, value: impl Into<String>) -> Field {
    Field { name: name.into(), value: value.into() }
}

/// A part of a key: this text.
pub fn text(text: impl Into<String>) -> Part {
    Part::Text(text.into())
}

/// A part of a key: the request's method.
pub fn method() -> Part {
    Part::Of(Attribute::Method)
}

/// A part of a key: the request's host.
pub fn authority() -> Part {
    Part::Of(Attribute::Authority)
}

/// A part of a key: the request's path.
pub fn path() -> Part {
    Part::Of(Attribute::Path)
}
