//! Traces for an OpenTelemetry collector: one span for each request, under its caller's trace.
//!
//! Set up by the standard variables, which the library reads itself: `OTEL_EXPORTER_OTLP_ENDPOINT` (unset: nothing is sent),
//! `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and the rest. Spans are sent as protobuf over HTTP,
//! in batches, from a thread of the library's own; what a collector does not take is dropped, and no request waits for it.
//!
//! Invariants: a span holds the request's id, route and trace and nothing a caller sent.
//! Source: OpenTelemetry, "OTLP Exporter Configuration" and "Environment Variable Specification".

use super::trace::Trace;
use bursar_config::{Env, ProcessEnv};
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use std::sync::OnceLock;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The layer that sends, if a collector is named and can be spoken to.
pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> Option<OpenTelemetryLayer<S, SdkTracer>> {
    let is_named = |name: &str| ProcessEnv.get(name).is_some_and(|value| !value.is_empty());
    ENDPOINTS.into_iter().find(|name| is_named(name))?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()
        // Logs are not there yet, and without them nobody would learn of it.
        .inspect_err(|error| eprintln!("bursar: traces cannot be sent: {error}"))
        .ok()?;
    let mut resource = Resource::builder();
    if ProcessEnv.get("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("bursar");
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let tracer = provider.tracer("bursar");
    PROVIDER.set(provider).ok()?;
    Some(tracing_opentelemetry::layer().with_tracer(tracer))
}

/// Sends what is left. Blocks until it is sent or the library gives up.
pub fn flush() {
    if let Some(provider) = PROVIDER.get() {
        drop(provider.shutdown());
    }
}

/// Makes a request's span part of the trace its lines name.
pub fn continue_trace(span: &Span, trace: &Trace) {
    let (id, step, flags) = trace.parts();
    let context = SpanContext::new(
        TraceId::from_bytes(id),
        SpanId::from_bytes(step),
        TraceFlags::new(flags),
        true,
        TraceState::default(),
    );
    drop(span.set_parent(Context::new().with_remote_span_context(context)));
}
