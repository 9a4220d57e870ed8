//! What banshi promises, a module a promise. The broker is real (`AMQP_URL`, or the private one
//! that `make test` starts), and so are the stores, the processes and the readers of the PDFs.

mod support;

mod bad_jobs_are_refused;
mod commands;
mod consistent_reports_pass;
mod every_cell_reads_back;
mod layers;
mod nothing_is_lost;
mod same_job_same_bytes;
mod settings_are_checked;
mod templates_match_the_code;
mod text_is_data;
