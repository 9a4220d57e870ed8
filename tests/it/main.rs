//! What banshi promises, a module a promise. The broker is real (`AMQP_URL`, or the private one
//! that `make test` starts), and so are the stores, the processes and the readers of the PDFs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a test has seen is printed when it fails"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

mod a_changed_file_is_found;
mod a_changed_ofd_is_found;
mod a_clerk_fills_a_workbook;
mod a_county_adds_up;
mod a_form_in_ten_steps;
mod a_full_disk_loses_nothing;
mod a_proxy_is_gone_through;
mod a_refused_job_is_shown;
mod a_release_is_of_a_tag;
mod a_sender_begins;
mod a_service_manager_minds_it;
mod a_signed_copy_is_told;
mod a_signer_signs_it;
mod a_stop_loses_nothing;
mod a_trace_tells_the_story;
mod an_operator_gets_it_right;
mod an_operator_sees_it;
mod an_outage_stops_intake;
mod an_s3_server_may_fail;
mod archives_take_it;
mod bad_jobs_are_refused;
mod bulk_is_resumed;
mod check_as_one_types;
mod check_says_what_the_service_says;
mod commands;
mod consistent_reports_pass;
mod documentation_is_true;
mod every_cell_reads_back;
mod everything_fits;
mod forms_are_data;
mod it_runs_anywhere;
mod it_runs_on_kubernetes;
mod layers;
mod lines_end_well;
mod long_lists;
mod nothing_is_lost;
mod nothing_leaks;
mod ofd_from_the_same_pages;
mod other_documents;
mod pictures;
mod punctuation_is_squeezed;
mod rabbitmq_keeps_its_promises;
mod reports_are_typeset;
mod same_job_same_bytes;
mod settings_are_checked;
mod status_says_how_it_goes;
mod templates_match_the_code;
mod text_is_data;
mod text_takes_its_levels;
mod the_alarms_ring;
mod the_broker_is_reached_safely;
mod the_broker_lets_each_do_its_own;
mod the_console_shows_it;
mod the_contracts_are_stated;
mod the_dashboard_shows_it;
mod the_dead_queue_is_a_tool;
mod the_doctor_finds_it;
mod the_file_is_archival;
mod the_log_is_stated;
mod the_page_is_for_the_web;
mod the_page_keeps_its_measures;
mod the_schema_says_what_the_reader_says;
mod the_spool_keeps_its_promises;
mod the_store_keeps_its_promises;
mod the_store_lets_each_do_its_own;
mod the_wire_is_guarded;
mod translations_keep_up;
mod typesetters_are_confined;
mod urgent_passes_bulk;
mod versions_live_together;
mod what_is_published_comes_in;
mod what_senders_send;
