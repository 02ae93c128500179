//! nginx, as the yardstick: it returns fixed JSON, and writes an access log.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use bench::Failed;
use bench::measure::process;
use bench::measure::server::{self, Started};

use crate::shop::free_ports;

/// Starts nginx in the folder `home`, to answer each of these paths with its body.
pub(crate) fn start(home: &Path, answers: &[(String, String)]) -> Result<Started, Failed> {
    let program = process::find("nginx").ok_or("nginx is not installed")?;
    fs::create_dir_all(home)?;
    let port = free_ports(1)?;
    let settings = home.join("nginx.conf");
    fs::write(&settings, configuration(port, answers)?)?;
    let mut command = server::command(&program, None);
    command
        .arg("-p")
        .arg(home)
        .args(["-e", "error.log", "-c"])
        .arg(&settings);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let log = home.join("nginx.out");
    let mut started = server::start_at(command, address, &log)?;
    started
        .wait_until_ready()
        .map_err(|error| format!("nginx: {error}; see {}", log.display()))?;
    Ok(started)
}

/// One process, so that one process id covers it. Otherwise like Debian's configuration: a line
/// in the access log for each request, written at once.
fn configuration(port: u16, answers: &[(String, String)]) -> Result<String, Failed> {
    let mut text = format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log access.log;
    default_type application/json;
    # wrk would have to connect again after each thousand requests.
    keepalive_requests 1000000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /health {{ return 200 '{{}}'; }}
"
    );
    for (path, body) in answers {
        if body.contains('$') {
            // nginx has no escape for a $.
            return Err(format!("nginx cannot answer {path} with a $ in it").into());
        }
        let body = body.replace('\\', "\\\\").replace('\'', "\\'");
        let _ = writeln!(text, "        location = {path} {{ return 200 '{body}'; }}");
    }
    Ok(text + "    }\n}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_quoted_and_one_with_a_dollar_is_refused() {
        let answers = |body: &str| vec![("/one".to_owned(), body.to_owned())];
        let text = configuration(20_000, &answers(r#"{"name":"O'Hara \"x\""}"#));
        let text = text.expect("can be written");
        let line = r#"location = /one { return 200 '{"name":"O\'Hara \\"x\\""}'; }"#;
        assert!(text.contains(line), "{text}");
        assert!(text.contains("listen 127.0.0.1:20000;"), "{text}");
        assert!(configuration(20_000, &answers("5 $")).is_err());
    }
}
