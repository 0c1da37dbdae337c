//! `oncegate policy bench`

use super::flags::{RequestFlags, SettingsFlags};
use super::trouble::{Done, Trouble};
use super::words;
use crate::cli::say::{self, Output};
use crate::policy::author::{Spread, Timing, measure};
use serde_json::{Value, json};

/// Time a policy: to load it, and to call it on a used and on a fresh instance
///
/// Calls go the way that they go in the gateway on one thread, and their time is the processor's,
/// so that a busy machine counts less. The quickest and the middle of many batches are told.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate policy bench orders --header 'Idempotency-Key: 1'\n  \
    oncegate policy bench rust/rust.wasm go/go.wasm js/js.wasm --output json\n  \
    oncegate policy bench builtin:idempotency-key --request request.http\n\n\
    Without a request of yours it is a POST with twelve fields, `Idempotency-Key` among \
    them.")]
pub(super) struct BenchArgs {
    /// Components, folders of policies that were built, or `builtin:NAME`
    #[arg(value_name = "COMPONENT", default_value = ".")]
    components: Vec<String>,
    #[command(flatten)]
    settings: SettingsFlags,
    #[command(flatten)]
    request: RequestFlags,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

pub(super) fn run(args: &BenchArgs, env: Vec<(String, String)>) -> Done {
    let request = RequestFlags { header: headers(&args.request), ..args.request.clone() };
    let sample = request.sample()?;
    let mut rows = Vec::new();
    for component in &args.components {
        let policy = args.settings.policy(component, env.clone())?;
        let timing =
            measure(&policy, &sample).map_err(|why| Trouble::new(format!("{component}: {why}"), ""))?;
        rows.push((component.as_str(), timing));
    }
    match args.output {
        Output::Text => say::out(text(&rows)),
        Output::Json => {
            let rows: Vec<Value> =
                rows.iter().map(|(name, timing)| json!({ "component": name, "timing": timing })).collect();
            say::json(&json!({ "ok": true, "components": rows }));
        }
    }
    Ok(true)
}

/// As many fields as a client sends that is generous with them.
fn headers(request: &RequestFlags) -> Vec<String> {
    if request.request.is_some() || !request.header.is_empty() {
        return request.header.clone();
    }
    let usual = [
        "host: api.example.com",
        "user-agent: client/1.0",
        "accept: application/json",
        "accept-encoding: gzip, br",
        "content-type: application/json",
        "content-length: 0",
        "idempotency-key: 8e03978e-40d5-43dd-bc93-6f7a0b0a3b0e",
        "x-request-id: 5f0c6f1e",
        "x-forwarded-for: 192.0.2.1",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "cache-control: no-store",
        "via: 1.1 proxy",
    ];
    usual.map(str::to_owned).to_vec()
}

fn text(rows: &[(&str, Timing)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default().max(9);
    let mut text = format!(
        "{:width$}  {:>10}  {:>10}  {:>10}  {:>17}  {:>17}  {:>10}\n",
        "component", "size", "load", "again", "reused call", "fresh call", "memory"
    );
    for (name, timing) in rows {
        let Timing { size, load_ms, load_again_ms, reused_ns, fresh_ns, memory } = timing;
        text.push_str(&format!(
            "{name:width$}  {:>10}  {load_ms:>7.1} ms  {load_again_ms:>7.1} ms  {:>17}  {:>17}  {:>6} KiB\n",
            words::bytes(*size),
            spread(reused_ns),
            spread(fresh_ns),
            memory / 1024,
        ));
    }
    text.push_str("\ncalls: the quickest and the middle of many batches, in processor time\n");
    text
}

fn spread(spread: &Spread) -> String {
    let micros = |nanos: u64| std::time::Duration::from_nanos(nanos).as_secs_f64() * 1e6;
    format!("{:.2} / {:.2} us", micros(spread.least), micros(spread.median))
}
