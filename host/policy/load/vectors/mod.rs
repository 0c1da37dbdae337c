//! The self-test: test vectors that a component carries in its custom section `oncegate:vectors`,
//! run at each load on a fresh and on a used instance.
//!
//! ```json
//! { "version": 1,
//!   "cases": [
//!     { "name": "a key is found",
//!       "settings": { "from": ["header:idempotency-key"] },
//!       "route": "charges", "principal": "alice",
//!       "request": "POST /v1/charges?x=1 HTTP/1.1\r\nHost: api\r\nIdempotency-Key: k1\r\n\r\n{\"a\":1}",
//!       "expect": { "guard": { "key": [{ "of": "method" }, { "text": "k1" }], "fingerprint": "request" } } },
//!     { "name": "no key", "request": "POST / HTTP/1.1\n\n", "expect": { "bypass": null } },
//!     { "name": "bad key", "request": "POST / HTTP/1.1\n\n",
//!       "expect": { "refuse": { "status": 400, "code": "key-malformed" } } } ],
//!   "same": [["a key is found", "…"]], "different": [["a key is found", "…"]] }
//! ```
//!
//! `settings` is `{}` where it is left out, `route` "vectors", `principal` nobody. The request is
//! HTTP/1.1 text whose body is all that follows the empty line. Members of `guard` that are left out are not
//! compared: `key-schema`, `key`, `fingerprint` (`"request"`, `"key-only"`, `{"document": shape}`,
//! `{"parts": […]}`), `first-sent`, `memo`, `while-running`, `when-unknown`, `retention-seconds`,
//! `tombstone-seconds`, `unvouched`, and `forward` and `labels` as lists of pairs. A part is `{"text": …}`,
//! `{"bytes": [0, 255]}`, `{"of": "method"}`, `{"document": {"keep": […], "drop": […]}}` or `"missing"`. `bypass` is the reason, or null for
//! any; a method that the plan has no interest in counts as bypassed. The cases of a group in `same`
//! must be guarded by one key, as the host computes it, those of one in `different` by a key each.
//!
//! `{"no-plan": "words"}`, or null for any, is for settings that can't be: `configure` must return an
//! err that holds the words, or a plan that the host refuses. Such a case has no request.
//!
//! A case of another hook has what the hook is shown beside the request, and expects its result:
//!
//! ```json
//! { "name": "the service lost its way", "request": "POST /payments HTTP/1.1\r\nIdempotency-Key: k\r\n\r\n",
//!   "answer": "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"lost\"}", "expect": { "settle": "unknown" } }
//! ```
//!
//! The rules of such cases are in `arguments`.

mod arguments;
mod compare;
mod expect;
mod fault;
mod format;
mod guard;
mod run;

pub(crate) use arguments::{CaseQuestion, receipt, ruled};
pub use fault::VectorFault;
pub(crate) use format::{Case, Vectors, read};
pub(crate) use run::{Run, run};

#[cfg(test)]
mod tests;
