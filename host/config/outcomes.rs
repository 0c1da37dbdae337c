//! `routes.outcomes`: the operator's rules for the meaning of an upstream's statuses.

use super::reading::{Item, PlainKey, Reading, Section, Unset, Value};
use oncegate_core::Disposition;

/// The meaning of a range of statuses, in a route's `outcomes` or in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRule {
    /// The first status.
    pub lowest: u16,
    /// The last status.
    pub highest: u16,
    /// The meaning of the statuses.
    pub means: Disposition,
}

const STATUS_HELP: &str =
    "a status like 503, a range like \"500-599\", or a class like \"5xx\"; from 200 to 599";

const STATUS: PlainKey<(u16, u16)> = PlainKey::new(
    "status",
    Unset::Fault(STATUS_HELP),
    status,
    "Of a rule on the upstream's answers: `503`, `\"500-599\"` or `\"5xx\"`. The first rule that fits counts.",
);
const MEANS: PlainKey<Disposition> = PlainKey::new(
    "means",
    Unset::Fault("completed, consumed, not-applied or unknown"),
    means,
    "`\"completed\"`, `\"consumed\"`, `\"not-applied\"` (the key is free again; not of a 2xx) or `\"unknown\"`.",
);

/// The rules, in their order.
pub(crate) fn read(items: Vec<Item<'_>>) -> Vec<StatusRule> {
    let mut rules: Vec<StatusRule> = Vec::new();
    for item in items {
        let refused = item.clone();
        let Some(rule) = rule(item) else { continue };
        let covers = |earlier: &&StatusRule| earlier.lowest <= rule.lowest && rule.highest <= earlier.highest;
        if rules.iter().any(|earlier| covers(&earlier)) {
            refused.fault(
                format!("`{}` is never reached: a rule before it takes {}", refused.path, range(&rule)),
                "put the narrower rule first, or remove it",
            );
        }
        rules.push(rule);
    }
    rules
}

fn rule(item: Item<'_>) -> Option<StatusRule> {
    let example = "a rule is a table: { status = \"500-599\", means = \"unknown\" }";
    let whole = item.clone();
    if !matches!(item.node.value, Value::Table(_)) {
        item.refuse(example);
        return None;
    }
    let mut section = Section::of(item)?;
    let status = section.find(&STATUS);
    let means = section.find(&MEANS);
    section.close();
    let (lowest, highest) = status?;
    let rule = StatusRule { lowest, highest, means: means? };
    if rule.means == Disposition::NotApplied && lowest < 300 {
        whole.fault(
            format!("`{}` calls {} not applied, and a success can't be", whole.path, range(&rule)),
            "name statuses from 300, or say what a success means with completed, consumed or unknown",
        );
        return None;
    }
    Some(rule)
}

fn means(item: &Item<'_>) -> Option<Disposition> {
    let all = [Disposition::Completed, Disposition::Consumed, Disposition::NotApplied, Disposition::Unknown];
    item.choice(&all.map(|disposition| (disposition.word(), disposition)))
}

fn status(item: &Item<'_>) -> Option<(u16, u16)> {
    let valid = |number: u16| (200..=599).contains(&number);
    let parse = |text: &str| {
        let text = text.trim();
        if let Some(class) = text.strip_suffix("xx") {
            let class: u16 = class.parse().ok().filter(|class| (2..=5).contains(class))?;
            return Some((class * 100, class * 100 + 99));
        }
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.trim().parse::<u16>().ok().filter(|n| valid(*n));
        let (low, high) = (number(low)?, number(high)?);
        (low <= high).then_some((low, high))
    };
    if let Value::Whole(_, written) = &item.node.value {
        let parsed = parse(written);
        if parsed.is_none() {
            item.refuse(STATUS_HELP);
        }
        return parsed;
    }
    item.parsed(STATUS_HELP, parse)
}

fn range(rule: &StatusRule) -> String {
    if rule.lowest == rule.highest {
        rule.lowest.to_string()
    } else {
        format!("{}-{}", rule.lowest, rule.highest)
    }
}

/// Warns of rules that free the key after an answer that may follow an effect.
pub(crate) fn warn(reading: &Reading, path: &str, rules: &[StatusRule]) {
    for rule in rules.iter().filter(|rule| rule.means == Disposition::NotApplied) {
        let may_have_run = |status: u16| Disposition::of_status(status.into()) != Disposition::NotApplied;
        if (rule.lowest..=rule.highest).any(may_have_run) {
            reading.warn(format!(
                "`{path}.outcomes` frees the key after {}: if the upstream ever answers so after taking effect, a retry runs it again",
                range(rule)
            ));
        }
    }
}
