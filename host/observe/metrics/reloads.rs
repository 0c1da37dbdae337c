//! Reloads of the configuration.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReloadResult {
    result: &'static str,
}

/// Reloads of the configuration since the start.
pub(super) struct ConfigReloads {
    made: Counter,
    refused: Counter,
}

impl ConfigReloads {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family = Family::<ReloadResult, Counter>::default();
        let of = |result| family.get_or_create_owned(&ReloadResult { result });
        let reloads = Self { made: of("ok"), refused: of("failed") };
        registry.register("config_reloads", "Reloads of the configuration by their result", family.clone());
        reloads
    }

    pub(super) fn count(&self, made: bool) {
        if made { &self.made } else { &self.refused }.inc();
    }
}
