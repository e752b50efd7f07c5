//! The gRPC health check (`grpc.health.v1.Health/Check`), its two messages written out.

use std::time::Duration;

use k8s_openapi::api::core::v1::GRPCAction;
use tonic::transport::Endpoint;

use super::handlers::{Outcome, USER_AGENT};
use crate::pod::backoff::go_duration;

const SERVING: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Asks the service for its health.
pub(super) async fn check(action: &GRPCAction, pod_ip: &str, timeout: Duration) -> Outcome {
    let host = if pod_ip.contains(':') { format!("[{pod_ip}]") } else { pod_ip.to_owned() };
    let address = format!("{host}:{}", action.port);
    let endpoint = match Endpoint::from_shared(format!("http://{address}")).and_then(|it| it.user_agent(USER_AGENT)) {
        Ok(endpoint) => endpoint,
        Err(error) => return Outcome::Errored(error.to_string()),
    };
    let Ok(channel) = endpoint.connect().await else {
        // Upstream tries on until its time is over, and says so whatever kept it from connecting.
        let within = go_duration(timeout);
        return Outcome::Failure(format!(
            "timeout: failed to connect service {address:?} within {within}: context deadline exceeded"
        ));
    };
    let mut client = tonic::client::Grpc::new(channel);
    if let Err(error) = client.ready().await {
        return Outcome::Failure(format!("error: health rpc probe failed: {error}"));
    }
    let request = HealthCheckRequest { service: action.service.clone().unwrap_or_default() };
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec: tonic_prost::ProstCodec<HealthCheckRequest, HealthCheckResponse> = tonic_prost::ProstCodec::default();
    match client.unary(tonic::Request::new(request), path, codec).await {
        Ok(answer) if answer.get_ref().status == SERVING => Outcome::Success,
        Ok(answer) => {
            let status = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
            let index = usize::try_from(answer.get_ref().status).unwrap_or(0);
            let name = status.get(index).copied().unwrap_or("UNKNOWN");
            Outcome::Failure(format!("service unhealthy (responded with {name:?})"))
        }
        Err(status) if status.code() == tonic::Code::Unimplemented => Outcome::Failure(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            status.message()
        )),
        Err(status) => {
            let error = crate::runtime::Error::new("Check", address, &status);
            Outcome::Failure(format!("error: health rpc probe failed: {}", error.rpc()))
        }
    }
}
