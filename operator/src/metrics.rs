//! Metrics, all with the prefix `exeat_`. Labels come from closed sets only: phases, reason codes, kinds, never names.

use exeat_crds::v1alpha1::{ApprovalPhase, Phase};
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramTimer, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

const LATENCY: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The controller's metrics.
#[derive(Clone)]
pub struct ControllerMetrics {
    reconcile: HistogramVec,
    errors: IntCounterVec,
    sessions: IntCounterVec,
    active: IntGauge,
    leader: IntGauge,
    backstop: IntGaugeVec,
    approvals_pending: IntGauge,
    approvals_oldest: Gauge,
    approvals: HistogramVec,
    notifications: IntCounterVec,
}

/// From a minute to three days: people decide.
const PATIENCE: &[f64] = &[60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0];

impl ControllerMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name that is taken already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let reconcile = HistogramVec::new(
            HistogramOpts::new("exeat_reconcile_seconds", "Time of one reconcile, by kind.").buckets(LATENCY.to_vec()),
            &["kind"],
        )?;
        let errors = IntCounterVec::new(
            Opts::new("exeat_reconcile_errors_total", "Failed reconciles, by kind and code."),
            &["kind", "code"],
        )?;
        let sessions =
            IntCounterVec::new(Opts::new("exeat_sessions_total", "Sessions that came to a phase."), &["phase"])?;
        let active = IntGauge::new("exeat_sessions_active", "Sessions that may be used now.")?;
        let leader = IntGauge::new("exeat_leader", "1 while this replica decides.")?;
        let backstop = IntGaugeVec::new(
            Opts::new(
                "exeat_admission_policies_healthy",
                "1 while the admission policy and its binding stand as installed.",
            ),
            &["policy"],
        )?;
        registry.register(Box::new(reconcile.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        registry.register(Box::new(sessions.clone()))?;
        registry.register(Box::new(active.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        let approvals_pending = IntGauge::new("exeat_approvals_pending", "Approvals that wait for people.")?;
        let approvals_oldest = Gauge::new(
            "exeat_approvals_oldest_pending_seconds",
            "How long the approval that waits longest has waited; 0 when none does.",
        )?;
        let approvals = HistogramVec::new(
            HistogramOpts::new(
                "exeat_approval_decision_seconds",
                "Time from the question to its end, by where it ended.",
            )
            .buckets(PATIENCE.to_vec()),
            &["phase"],
        )?;
        let notifications = IntCounterVec::new(
            Opts::new("exeat_notifications_total", "Messages to people about approvals, by what became of them."),
            &["outcome"],
        )?;
        registry.register(Box::new(notifications.clone()))?;
        registry.register(Box::new(backstop.clone()))?;
        registry.register(Box::new(approvals_pending.clone()))?;
        registry.register(Box::new(approvals_oldest.clone()))?;
        registry.register(Box::new(approvals.clone()))?;
        Ok(Self {
            reconcile,
            errors,
            sessions,
            active,
            leader,
            backstop,
            approvals_pending,
            approvals_oldest,
            approvals,
            notifications,
        })
    }

    /// Measures until it is dropped.
    pub fn reconcile_timer(&self, kind: &str) -> HistogramTimer {
        self.reconcile.with_label_values(&[kind]).start_timer()
    }

    /// A reconcile failed.
    pub fn failed(&self, kind: &str, code: &str) {
        self.errors.with_label_values(&[kind, code]).inc();
    }

    /// A session came to a phase.
    pub fn session_phase(&self, phase: Phase) {
        self.sessions.with_label_values(&[phase.as_str()]).inc();
    }

    /// How many sessions are active.
    pub fn set_active(&self, count: usize) {
        self.active.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// An approval was decided, or its time is over, after so many seconds.
    pub fn approval_settled(&self, phase: ApprovalPhase, seconds: f64) {
        self.approvals.with_label_values(&[phase.as_str()]).observe(seconds);
    }

    /// How many approvals wait for people, and the oldest of them for how many seconds.
    pub fn set_open_approvals(&self, count: usize, oldest: f64) {
        self.approvals_pending.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.approvals_oldest.set(oldest);
    }

    /// People were told what waits for them, or could not be.
    pub fn notified(&self, outcome: &str) {
        self.notifications.with_label_values(&[outcome]).inc();
    }

    /// Whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Whether an admission policy stands as installed.
    pub fn set_backstop(&self, policy: &str, healthy: bool) {
        self.backstop.with_label_values(&[policy]).set(i64::from(healthy));
    }
}

/// The issuer's metrics.
#[derive(Clone)]
pub struct IssuerMetrics {
    requests: IntCounterVec,
    latency: Histogram,
    issued: IntCounterVec,
    mint: HistogramVec,
    revocation: HistogramVec,
    streams: IntGauge,
    stream_requests: IntCounterVec,
    reports: IntCounterVec,
    conflicts: IntCounterVec,
}

impl IssuerMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name that is taken already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new("exeat_credential_requests_total", "Requests of sidecars for a credential, by reason code."),
            &["reason"],
        )?;
        let latency = Histogram::with_opts(
            HistogramOpts::new("exeat_api_latency_seconds", "Time to answer a sidecar.").buckets(LATENCY.to_vec()),
        )?;
        let issued = IntCounterVec::new(
            Opts::new("exeat_credentials_issued_total", "Credentials handed out."),
            &["provider_kind", "first"],
        )?;
        let mint = HistogramVec::new(
            HistogramOpts::new("exeat_mint_seconds", "Time of a mint at its provider.").buckets(LATENCY.to_vec()),
            &["provider_kind", "outcome"],
        )?;
        let revocation = HistogramVec::new(
            HistogramOpts::new("exeat_revocation_seconds", "Time of a revocation at its provider.")
                .buckets(LATENCY.to_vec()),
            &["provider_kind", "outcome"],
        )?;
        let streams = IntGauge::new("exeat_sidecar_streams", "Open streams of sidecars.")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(latency.clone()))?;
        registry.register(Box::new(issued.clone()))?;
        registry.register(Box::new(mint.clone()))?;
        registry.register(Box::new(revocation.clone()))?;
        let conflicts = IntCounterVec::new(
            Opts::new("exeat_holder_conflicts_total", "Calls with a key that is not the bound one, by call."),
            &["call"],
        )?;
        let stream_requests = IntCounterVec::new(
            Opts::new("exeat_stream_requests_total", "Requests of sidecars for a stream, by reason code."),
            &["reason"],
        )?;
        registry.register(Box::new(streams.clone()))?;
        registry.register(Box::new(stream_requests.clone()))?;
        registry.register(Box::new(conflicts.clone()))?;
        let reports = observed_reports(registry)?;
        Ok(Self { requests, latency, issued, mint, revocation, streams, stream_requests, reports, conflicts })
    }

    /// A request was answered.
    pub fn answered(&self, reason: &str, seconds: f64) {
        self.requests.with_label_values(&[reason]).inc();
        self.latency.observe(seconds);
    }

    /// A request for a stream was answered.
    pub fn stream_answered(&self, reason: &str) {
        self.stream_requests.with_label_values(&[reason]).inc();
    }

    /// A report of what an agent used was answered.
    pub fn report_answered(&self, reason: &str) {
        self.reports.with_label_values(&[reason]).inc();
    }

    /// A credential was handed out.
    pub fn issued(&self, kind: &str, first: bool) {
        self.issued.with_label_values(&[kind, if first { "true" } else { "false" }]).inc();
    }

    /// A provider minted, or did not.
    pub fn minted(&self, kind: &str, outcome: &str, seconds: f64) {
        self.mint.with_label_values(&[kind, outcome]).observe(seconds);
    }

    /// A provider revoked, or did not.
    pub fn revoked(&self, kind: &str, outcome: &str, seconds: f64) {
        self.revocation.with_label_values(&[kind, outcome]).observe(seconds);
    }

    /// A second key asked for a credential or a stream.
    pub fn holder_conflict(&self, call: &str) {
        self.conflicts.with_label_values(&[call]).inc();
    }

    /// Counts a stream until the guard is dropped.
    pub fn stream(&self) -> StreamGuard {
        self.streams.inc();
        StreamGuard(self.streams.clone())
    }
}

fn observed_reports(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    let reports = IntCounterVec::new(
        Opts::new("exeat_observed_reports_total", "Reports of sidecars of what their agents used, by reason code."),
        &["reason"],
    )?;
    registry.register(Box::new(reports.clone()))?;
    Ok(reports)
}

/// One open stream.
pub struct StreamGuard(IntGauge);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
