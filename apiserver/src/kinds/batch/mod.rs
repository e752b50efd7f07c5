//! Work that ends: Jobs, and CronJobs that make them (Kubernetes concepts: "Jobs", "CronJob").

mod columns;
mod cron_job;
mod failure_policy;
mod indexes;
mod job;
mod job_status;
mod job_update;
mod success_policy;

pub use cron_job::CRON_JOB;
pub use job::JOB;
