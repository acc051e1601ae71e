//! Traces for an OpenTelemetry collector: one span for each request, under its caller's trace.
//!
//! Set up by the standard variables: `OTEL_EXPORTER_OTLP_ENDPOINT` (unset: nothing is sent) and `OTEL_SDK_DISABLED` are read
//! here, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and the rest by the library. Spans are sent as
//! protobuf over HTTP, in batches, from a thread of the library's own; what a collector does not take is dropped, and no
//! request waits for it.
//!
//! Invariants: a span holds the request's id, route and trace and nothing a caller sent; it has the ids the request's log
//! lines and headers name; its parent is the step a caller named, and without one it has none, so that the sampler decides.
//! Source: OpenTelemetry, "OTLP Exporter Configuration" and "Environment Variable Specification".

use super::trace::Trace;
use bursar_config::{Env, ProcessEnv};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, Key};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracerProvider};
use std::ffi::OsString;
use std::sync::OnceLock;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// A span's ids are those of the request it is of.
#[derive(Debug, Default)]
struct RequestIds(RandomIdGenerator);

impl IdGenerator for RequestIds {
    fn new_trace_id(&self) -> TraceId {
        let present = Trace::present();
        present.map_or_else(|| self.0.new_trace_id(), |t| TraceId::from_bytes(t.ids().0))
    }
    fn new_span_id(&self) -> SpanId {
        let present = Trace::present();
        present.map_or_else(|| self.0.new_span_id(), |t| SpanId::from_bytes(t.ids().1))
    }
}

/// Who sends: `bursar`, unless the environment says another name.
fn resource() -> Resource {
    let found = Resource::builder().build();
    let name = found.get(&Key::from_static_str("service.name"));
    // The library's word for none.
    if name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return found;
    }
    Resource::builder().with_service_name("bursar").build()
}

/// The layer that sends, if a collector is named and can be spoken to.
pub fn layer<S>() -> Option<impl Layer<S>>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let is_off = |value: OsString| value.eq_ignore_ascii_case("true");
    if ProcessEnv.get("OTEL_SDK_DISABLED").is_some_and(is_off) {
        return None;
    }
    let is_named = |name: &str| ProcessEnv.get(name).is_some_and(|value| !value.is_empty());
    ENDPOINTS.into_iter().find(|name| is_named(name))?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()
        // Logs are not there yet, and without them nobody would learn of it.
        .inspect_err(|error| eprintln!("bursar: traces cannot be sent: {error}"))
        .ok()?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource())
        .with_id_generator(RequestIds::default())
        .build();
    let tracer = provider.tracer("bursar");
    PROVIDER.set(provider).ok()?;
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    // Neither what libraries call a span (an actor's life), nor log lines, which may name what a caller sent.
    Some(layer.with_filter(filter_fn(|of| {
        of.is_span() && of.target().starts_with("bursar")
    })))
}

/// Sends what is left. Blocks until it is sent or the library gives up.
pub fn flush() {
    if let Some(provider) = PROVIDER.get() {
        drop(provider.shutdown());
    }
}

/// Makes a request's span part of its caller's trace.
pub fn continue_trace(span: &Span, trace: &Trace) {
    let Some((parent, flags)) = trace.asked_by() else {
        return;
    };
    let context = SpanContext::new(
        TraceId::from_bytes(trace.ids().0),
        SpanId::from_bytes(parent),
        TraceFlags::new(flags),
        true,
        TraceState::default(),
    );
    drop(span.set_parent(Context::new().with_remote_span_context(context)));
}
