//! Steps of an agent's run: what a workflow engine or an agent calls again after a crash is the same
//! step of the same run, whatever it then says.

use oncegate_policy::*;

struct AgentStep {
    run: String,
    step: String,
    required: bool,
}

impl Policy for AgentStep {
    fn configure(settings: &str) -> Result<(Self, Plan), String> {
        let mut settings = Settings::parse(settings)?;
        let mut header = |name, default: &str| {
            let found = settings.text(name)?.unwrap_or_else(|| default.into()).to_ascii_lowercase();
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if found.is_empty() || !found.bytes().all(is_token) {
                return Err(format!("`{name}` must be the name of a header, found {found:?}"));
            }
            Ok(found)
        };
        let (run, step) = (header("run", "x-run-id")?, header("step", "x-step-id")?);
        let required = settings.flag("required")?;
        settings.done()?;
        if run == step {
            return Err("`run` and `step` must be two headers".into());
        }
        let plan = Plan::new(format!("agent-step/1 run={run} step={step}")).reads(&[&run, &step]);
        Ok((Self { run, step, required }, plan))
    }

    fn decide(&self, operation: &Operation) -> Result<Verdict, String> {
        let one = |name: &str| {
            let mut values = operation.values(name).filter(|value| !value.is_empty());
            (values.next().map(str::to_owned), values.next().is_some())
        };
        let ((run, runs), (step, steps)) = (one(&self.run), one(&self.step));
        if runs || steps {
            return Ok(refuse("key-malformed", "the run and the step are one header each: send each once"));
        }
        Ok(match (run, step) {
            (Some(run), Some(step)) => Guard {
                // A step that is taken again may word its call otherwise: it is the same step.
                fingerprint: Fingerprint::KeyOnly,
                ..Guard::new([authority(), method(), path(), text(run), text(step)])
            }
            .into(),
            (None, None) if operation.field(&self.run).or(operation.field(&self.step)).is_some() => {
                refuse("key-malformed", "the run and the step are empty: name both")
            }
            (None, None) if !self.required => bypass("no step of a run"),
            _ => {
                let detail = format!("send {} and {} with each step of a run", self.run, self.step);
                refuse("key-missing", detail)
            }
        })
    }
}

policy!(AgentStep);
