//! A policy with all hooks, which says what it was told: all of it must arrive, both ways.

use oncegate_policy::*;

struct Hooks;

impl Policy for Hooks {
    fn configure(_: &str) -> Result<(Self, Plan), String> {
        let plan = Plan::new("hooks/1").reads(&["x-key"]).reads_body(&["/id"]);
        let plan = plan.reads_answers(&["x-status"]).reads_answers_body(&["/status"]);
        let rule = |lowest, highest, disposition| StatusRule { lowest, highest, disposition };
        let outcomes = vec![rule(418, 418, Disposition::NotApplied), rule(500, 504, Disposition::Unknown)];
        Ok((Self, Plan { outcomes, ..plan }))
    }

    fn decide(&self, operation: &Operation) -> Result<Verdict, String> {
        let Some(key) = operation.field("x-key") else { return Ok(bypass("no key")) };
        Ok(Guard {
            memo: Some(key.into()),
            while_running: WhileRunning::Wait,
            when_unknown: WhenUnknown::Probe,
            ..Guard::new([text(key)])
        }
        .into())
    }
}

impl Outcome for Hooks {
    fn settle(&self, receipt: &Receipt, reply: &Reply) -> Result<Option<Settlement>, String> {
        let says = |word: &str| reply.fields.iter().chain(&reply.trailers).any(|field| field.value == word);
        if says("fail") {
            return Err(format!("no word on {}", reply.status));
        }
        Ok(match reply.payload.text_at(0) {
            _ if !reply.complete => Some(Disposition::Completed.into()),
            _ if says("refused") => Some(Disposition::NotApplied.into()),
            Some("lost") => Some(Disposition::Unknown.into()),
            Some("half") => Some(Settlement {
                disposition: Disposition::Consumed,
                memo: receipt.memo.as_ref().map(|memo| format!("{memo}!")),
                retention_seconds: Some(5),
            }),
            _ => None,
        })
    }
}

impl Resolution for Hooks {
    fn question(&self, receipt: &Receipt) -> Result<Option<Outbound>, String> {
        let r = receipt;
        let (memo, principal) = (r.memo.as_deref().unwrap_or("-"), r.principal.as_deref().unwrap_or("-"));
        match memo {
            "" => return Ok(None),
            "fail" => return Err("no question".into()),
            _ => {}
        }
        let all = format!(
            "{} {} {} {} {principal} {} {} {memo}",
            r.route, r.method, r.authority, r.path, r.key_schema, r.first_attempt
        );
        Ok(Some(Outbound::get(format!("/q?n={}", r.attempts)).with("x-all", &all)))
    }

    fn reading(&self, _: &Receipt, asked: &Outbound, answer: &Reply) -> Result<Finding, String> {
        let body = answer.payload.whole().unwrap_or_default();
        Ok(match answer.status {
            409 => Finding::Consumed,
            404 => Finding::DidNotHappen,
            202 => Finding::StillUnknown,
            500 => return Err("status 500".into()),
            _ if asked.path.starts_with("/q") => {
                Finding::Ask(Outbound::get(format!("/one/{}", String::from_utf8_lossy(body))))
            }
            _ => {
                let reference = answer.field("x-ref").unwrap_or("-");
                let fields = vec![
                    field("content-type", "text/plain"),
                    field("x-asked", asked.path.as_str()),
                    field("x-ref", reference),
                ];
                Finding::Happened(Reply::new(201, fields, body))
            }
        })
    }
}

impl Presentation for Hooks {
    fn present(
        &self,
        receipt: &Receipt,
        operation: &Operation,
        reply: &Reply,
    ) -> Result<Option<Changes>, String> {
        let Some(id) = operation.text_at(0) else { return Ok(None) };
        if id == "fail" {
            return Err("no words".into());
        }
        let body = [id.as_bytes(), b":", reply.payload.whole().unwrap_or_default()].concat();
        let set = vec![field("x-for", receipt.principal.as_deref().unwrap_or("-"))];
        Ok(Some(Changes { set, remove: vec!["x-kept".into()], ..Changes::body(body) }))
    }

    fn explain(&self, operation: &Operation, problem: &Problem) -> Result<Option<Wording>, String> {
        match problem.code.as_str() {
            "expired" => return Ok(None),
            "draining" => return Err(problem.code.clone()),
            _ => {}
        }
        let outcome = problem.outcome.map(|outcome| match outcome {
            Disposition::Completed => "completed",
            Disposition::Consumed => "consumed",
            Disposition::NotApplied => "not-applied",
            Disposition::Unknown => "unknown",
        });
        let number = |n: Option<u32>| n.map_or("-".to_owned(), |n| n.to_string());
        let body = format!(
            "{} {} {} {} {} {} {} {} {} {}",
            problem.code,
            problem.status,
            problem.detail,
            problem.operation_id.as_deref().unwrap_or("-"),
            outcome.unwrap_or("-"),
            if problem.retryable { "yes" } else { "no" },
            number(problem.retry_after_seconds),
            number(problem.first_status.map(u32::from)),
            problem.first_location.as_deref().unwrap_or("-"),
            operation.text_at(0).unwrap_or("-"),
        );
        Ok(Some(Wording::new(200, "text/plain", body)))
    }
}

policy!(Hooks: Outcome + Resolution + Presentation);
