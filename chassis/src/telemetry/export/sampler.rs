//! Which traces are recorded.

use opentelemetry::trace::{Link, SpanContext, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use crate::env::Env;

/// Decides which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampler {
    /// Whether a trace that the caller began is recorded if the caller records it.
    follows_parent: bool,
    /// How many of 2⁵⁶ traces are recorded.
    share: u64,
}

impl Sampler {
    const ALL: u64 = 1 << 56;

    pub(super) fn read(env: &mut Env<'_>) -> Self {
        let expected = "always_on, always_off or traceidratio, or parentbased_ and one of them";
        let named = env.parsed("OTEL_TRACES_SAMPLER", expected, |value| {
            let plain = value.strip_prefix("parentbased_");
            let share = match plain.unwrap_or(value) {
                "always_on" => Some(Self::ALL),
                "always_off" => Some(0),
                "traceidratio" => None,
                _ => return None,
            };
            Some((plain.is_some(), share))
        });
        let (follows_parent, share) = named.unwrap_or((true, Some(Self::ALL)));
        Self {
            follows_parent,
            share: share.unwrap_or_else(|| Self::read_share(env)),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of 2⁵⁶, from none to all"
    )]
    fn read_share(env: &mut Env<'_>) -> u64 {
        let share = env.parsed("OTEL_TRACES_SAMPLER_ARG", "a share from 0 to 1", |value| {
            value
                .parse()
                .ok()
                .filter(|share| (0.0..=1.0).contains(share))
        });
        (share.unwrap_or(1.0) * Self::ALL as f64) as u64
    }

    /// Whether the trace with this id is recorded; `parent` says whether the caller
    /// records it. A share is taken by the last 56 bits of the id: they are random in
    /// every id, so all services choose the same traces.
    pub(super) fn samples(self, trace: u128, parent: Option<bool>) -> bool {
        let chosen = trace % u128::from(Self::ALL) < u128::from(self.share);
        parent.filter(|_| self.follows_parent).unwrap_or(chosen)
    }
}

impl ShouldSample for Sampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent = parent.map(|parent| parent.span().span_context().clone());
        let parent = parent.filter(SpanContext::is_valid);
        let sampled = parent.as_ref().map(SpanContext::is_sampled);
        SamplingResult {
            decision: if self.samples(u128::from_be_bytes(trace.to_bytes()), sampled) {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state: parent.map_or(TraceState::NONE, |parent| parent.trace_state().clone()),
        }
    }
}
