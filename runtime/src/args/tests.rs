use clap::{CommandFactory, Parser};

use super::*;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(flatten)]
    health: HealthArgs,
    #[command(flatten)]
    pod: PodArgs,
    #[cfg(feature = "lease")]
    #[command(flatten)]
    client: ClientArgs,
    #[cfg(feature = "lease")]
    #[command(flatten)]
    lease: LeaseArgs,
}

fn parse(arguments: &[&str]) -> Result<Program, String> {
    let arguments = ["program", "--pod-name", "controller-1"].iter().chain(arguments);
    Program::try_parse_from(arguments).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_the_documented_ones() {
    let program = parse(&[]).unwrap();
    assert_eq!(program.telemetry.log_level.to_string(), "info");
    assert_eq!(program.telemetry.log_format, LogFormat::Json);
    assert_eq!(program.health.health_listen.to_string(), "0.0.0.0:8080");
    assert_eq!(program.pod.pod_namespace, "exeat-system");
}

#[test]
fn a_bad_value_is_refused_with_the_flag_and_the_fix() {
    let refused = |arguments: &[&str]| parse(arguments).err().unwrap();
    let level = refused(&["--log-level", "hyper=loud"]);
    assert!(level.contains("--log-level") && level.contains("info,hyper=warn"), "{level}");
    let format = refused(&["--log-format", "xml"]);
    assert!(format.contains("--log-format") && format.contains("text, json"), "{format}");
    let listen = refused(&["--health-listen", "8080"]);
    assert!(listen.contains("--health-listen"), "{listen}");
}

#[test]
fn help_names_every_flag_with_its_variable() {
    let mut command = Program::command();
    command.build();
    let flags: Vec<_> = command.get_arguments().filter(|flag| flag.get_id() != "help").cloned().collect();
    let help = command.render_long_help().to_string();
    assert!(flags.len() >= 5);
    for flag in flags {
        let long = format!("--{}", flag.get_long().unwrap());
        let variable = flag.get_env().unwrap().to_str().unwrap().to_owned();
        assert!(help.contains(&long) && help.contains(&format!("[env: {variable}")), "{long} {variable}: {help}");
        assert!(variable.starts_with("EXEAT_") || variable.starts_with("POD_"), "{variable}");
    }
}

#[cfg(feature = "lease")]
mod lease {
    use super::*;

    #[test]
    fn the_lease_defaults_to_the_program_and_the_pods_namespace() {
        let program = parse(&["--pod-namespace", "agents"]).unwrap();
        let config = program.lease.config("exeat-controller", &program.pod).unwrap();
        assert_eq!((config.name.as_str(), config.namespace.as_str()), ("exeat-controller", "agents"));
        assert!(config.identity.starts_with("controller-1_"));
        assert_eq!(config.duration.as_secs(), 15);
        assert_eq!(config.renew_deadline.as_secs(), 10);
        assert_eq!(config.retry_period.as_secs(), 2);
        let again = program.lease.config("exeat-controller", &program.pod).unwrap();
        assert_ne!(config.identity, again.identity, "a restarted process must not take itself for its predecessor");
    }

    #[test]
    fn durations_that_do_not_fit_together_are_refused_with_the_flag() {
        let refused = |arguments: &[&str]| {
            let program = parse(arguments).unwrap();
            program.lease.config("exeat-controller", &program.pod).unwrap_err().to_string()
        };
        let message = refused(&["--lease-renew-deadline", "15s"]);
        assert!(message.contains("--lease-renew-deadline") && message.contains("--lease-duration"), "{message}");
        let message = refused(&["--lease-retry-period", "10s"]);
        assert!(message.contains("--lease-retry-period") && message.contains("--lease-renew-deadline"), "{message}");
        let message = refused(&["--lease-duration", "15500ms"]);
        assert!(message.contains("--lease-duration") && message.contains("whole seconds"), "{message}");
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_refused_with_the_flag() {
        let program = parse(&["--kubeconfig", "/nowhere/kubeconfig"]).unwrap();
        let error = program.client.config().await.unwrap_err().to_string();
        assert!(error.starts_with("--kubeconfig /nowhere/kubeconfig: "), "{error}");
    }
}
