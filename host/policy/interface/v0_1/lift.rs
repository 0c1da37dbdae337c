//! The results that every interface has, converted for the host: failures, fields, dispositions, times.

use super::bindings::wit;
use crate::interface::failure::{Broken, Failure};
use crate::interface::rules::broken;
use oncegate_core::Disposition;
use std::time::Duration;

/// The result of a call. A trap and an `err` are both failures.
pub(super) fn returned<T>(called: wasmtime::Result<Result<T, String>>, time: Duration) -> Result<T, Failure> {
    match called {
        Ok(Ok(lifted)) => Ok(lifted),
        Ok(Err(text)) => Err(Failure::Err(on_one_line(&text))),
        Err(error) => Err(Failure::of_call(&error, time)),
    }
}

/// A policy's own words on one line of the log, so that they can't pass for another entry.
pub(super) fn on_one_line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars().take(1 << 10) {
        match character {
            '"' | '\'' | '\\' => line.push(character),
            character => line.extend(character.escape_debug()),
        }
    }
    line
}

pub(super) fn pairs(fields: Vec<wit::FieldResult>) -> Vec<(String, String)> {
    if fields.is_empty() {
        return Vec::new();
    }
    fields.into_iter().map(|field| (field.name, field.value)).collect()
}

pub(super) fn disposition(lifted: wit::Disposition) -> Disposition {
    match lifted {
        wit::Disposition::Completed => Disposition::Completed,
        wit::Disposition::Consumed => Disposition::Consumed,
        wit::Disposition::NotApplied => Disposition::NotApplied,
        wit::Disposition::Unknown => Disposition::Unknown,
    }
}

pub(super) fn retention(place: &'static str, seconds: Option<u32>) -> Result<Option<Duration>, Broken> {
    match seconds {
        Some(0) => broken(place, "0 seconds: at least 1 is allowed"),
        seconds => Ok(seconds.map(|seconds| Duration::from_secs(seconds.into()))),
    }
}
