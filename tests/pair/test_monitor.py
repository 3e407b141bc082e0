"""The endpoint for operators: metrics read by Prometheus' own parser, the page by a real browser."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.parse
import urllib.request

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from conftest import TOP, Node, eventually, free_port

# What the Prometheus project's exporter for memcached makes of a memcached without extstore and proxy, as far as
# there is such a thing here.
EXPORTER_NAMES = """
    memcached_accepting_connections memcached_commands_total memcached_connections_listener_disabled_total
    memcached_connections_rejected_total memcached_connections_total memcached_connections_yielded_total
    memcached_current_bytes memcached_current_connections memcached_current_items memcached_item_no_memory_total
    memcached_item_too_large_total memcached_items_evicted_total memcached_items_reclaimed_total
    memcached_items_total memcached_limit_bytes memcached_lru_crawler_items_checked_total
    memcached_lru_crawler_reclaimed_total memcached_max_connections memcached_process_system_cpu_seconds_total
    memcached_process_user_cpu_seconds_total memcached_read_bytes_total memcached_slab_chunk_size_bytes
    memcached_slab_chunks_per_page memcached_slab_chunks_used memcached_slab_commands_total
    memcached_slab_current_items memcached_slab_items_evicted_nonzero_total memcached_slab_items_evicted_time_seconds
    memcached_slab_items_evicted_total memcached_slab_items_evicted_unfetched_total
    memcached_slab_items_expired_unfetched_total memcached_slab_items_outofmemory_total
    memcached_slab_items_reclaimed_total memcached_slab_mem_requested_bytes memcached_time_seconds memcached_up
    memcached_uptime_seconds memcached_version memcached_written_bytes_total
""".split()


class Monitored(Node):
    """A node with the endpoint."""

    def __init__(self, folder, link, peer_link, monitor, peer_monitor):
        config = folder.with_suffix(".toml")
        config.write_text(
            f'[monitor]\nlisten = ["127.0.0.1:{monitor}"]\npeer = "127.0.0.1:{peer_monitor}"\n'
        )
        super().__init__(folder, link, peer_link, f"--config={config}")
        self.monitor = monitor

    def http(self, path, method="GET"):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.monitor, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def code(self, path):
        return self.http(path)[0]

    def metrics(self):
        status, headers, text = self.http("/metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        return samples


@pytest.fixture
def pair(tmp_path):
    """Two nodes in sync, each with the endpoint."""
    links, monitors = (free_port(), free_port()), (free_port(), free_port())
    nodes = (
        Monitored(tmp_path / "a", *links, *monitors),
        Monitored(tmp_path / "b", *reversed(links), *reversed(monitors)),
    )
    for node in nodes:
        node.start()
    try:
        for node in nodes:
            eventually("both are in sync", node.in_sync)
        yield nodes
    finally:
        for node in nodes:
            node.stop()


def test_the_metrics_count_what_clients_did_under_the_exporters_names(pair):
    node, _ = pair
    before = node.metrics()
    node.set(b"key", b"value")
    assert node.get(b"key") == b"value"
    assert node.get(b"nothing") is None
    after = node.metrics()

    def rose(name, **labels):
        key = name, tuple(sorted(labels.items()))
        return after[key] - before.get(key, 0)

    assert rose("memcached_commands_total", command="get", status="hit") == 1
    assert rose("memcached_commands_total", command="get", status="miss") == 1
    assert rose("memcached_commands_total", command="set", status="hit") == 1
    assert rose("memcached_slab_commands_total", command="set", status="hit", slab="1") == 1
    assert rose("memcached_current_items") == 1
    assert rose("memcached_read_bytes_total") > len("set key 0 0 5\r\nvalue\r\n")
    assert after["memcached_version", (("version", node.stats()["version"]),)] == 1
    assert set(EXPORTER_NAMES) <= {name for name, _ in after}


def test_the_metrics_tell_how_the_pair_is_doing(pair):
    node, peer = pair

    def state(name):
        return node.metrics()["paircached_replication_state", (("state", name),)]

    eventually("it is in sync", lambda: state("in-sync") == 1 and state("connecting") == 0)
    node.set(b"key", b"value")
    eventually("the change is counted", lambda: node.metrics()["paircached_replication_sent_total", ()] >= 1)
    eventually("the peer has it", lambda: node.metrics()["paircached_replication_lag_operations", ()] == 0)
    peer.kill()
    eventually("the loss shows", lambda: state("connecting") == 1 and state("in-sync") == 0)


def test_a_node_that_lost_its_peer_takes_clients_and_the_pair_is_not_whole(pair):
    node, peer = pair
    eventually("the pair is whole", lambda: node.code("/healthz") == 200)
    assert node.code("/readyz") == 200
    peer.kill()
    eventually("the pair is not whole", lambda: node.code("/healthz") == 503)
    assert node.code("/readyz") == 200
    peer.start()
    eventually("the pair is whole again", lambda: node.code("/healthz") == 200 and peer.code("/healthz") == 200)


def test_a_node_waits_for_its_peer_before_it_takes_clients_but_not_for_ever(tmp_path):
    node = Monitored(tmp_path / "a", free_port(), free_port(), free_port(), free_port())
    node.start()
    try:
        status, _, reason = node.http("/readyz")
        assert status == 503
        assert "waiting for 127.0.0.1" in reason
        eventually("it goes on alone", lambda: node.code("/readyz") == 200)
        assert int(node.stats()["uptime"]) >= 9
    finally:
        node.stop()


def test_a_node_that_stops_sends_clients_away_first(pair):
    node, peer = pair
    # A peer that does not take its changes makes the stop wait for drain_timeout.
    peer.send(signal.SIGSTOP)
    node.set(b"key", b"value")
    node.send(signal.SIGTERM)
    eventually("it says so", lambda: node.http("/readyz")[::2] == (503, "stopping\n"), 4)
    peer.send(signal.SIGCONT)
    assert node.process.wait(20) == 0


def test_the_status_is_json_and_says_what_the_statistics_say(pair):
    node, peer = pair
    status, headers, text = node.http("/status")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    report = json.loads(text)
    replication = node.stats(b"replication")
    assert {f"replication_{name}" for name in report["replication"]} == set(replication)
    assert set(report["healthz"]) == {"ok", "reason"}
    whole = {"ok": True, "reason": "in-sync and filled"}
    eventually("it says that the pair is whole", lambda: json.loads(node.http("/status")[2])["healthz"] == whole)
    assert report["pid"] == node.process.pid
    assert json.loads(node.http("/status/peer")[2])["pid"] == peer.process.pid
    peer.kill()
    eventually("the peer's silence is told", lambda: node.code("/status/peer") == 502)


def test_the_history_grows(pair):
    node, _ = pair
    node.set(b"key", b"value")
    eventually("a sample has it", lambda: json.loads(node.http("/history")[2])[-1]["sets"] == 1)
    times = [sample["time"] for sample in json.loads(node.http("/history")[2])]
    assert times == sorted(times)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(pair, method):
    assert pair[0].http("/status", method)[0] == 405


def test_what_is_not_there_is_named(pair):
    status, _, text = pair[0].http("/nowhere")
    assert (status, "/metrics" in text) == (404, True)


def test_strangers_who_say_nothing_or_nonsense_keep_nobody_out(pair):
    node, _ = pair
    silent = [socket.create_connection(("127.0.0.1", node.monitor)) for _ in range(40)]
    try:
        with socket.create_connection(("127.0.0.1", node.monitor)) as client:
            client.settimeout(20)
            client.sendall(b"\x16\x03\x01 GET nothing\r\n\r\n" + b"x" * 100_000)
            # More than the endpoint serves at a time: whoever says nothing is sent away in the end.
            try:
                assert b"400" in client.recv(1000)
            except ConnectionResetError:
                pass
        eventually("others are served", lambda: node.code("/readyz") == 200)
        assert node.get(b"nothing") is None
    finally:
        for stranger in silent:
            stranger.close()


@pytest.fixture
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--window-size=1200,900",
    ]:  # fmt: skip
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    browser = webdriver.Chrome(options=options, service=service)
    try:
        yield browser
    finally:
        browser.quit()


def test_the_page_shows_both_nodes_live(pair, browser, tmp_path):
    node, peer = pair
    browser.get(f"http://127.0.0.1:{node.monitor}/")

    def text(selector):
        # At once: the page replaces its elements every second.
        script = "return [...document.querySelectorAll(arguments[0])].map(element => element.innerText)"
        return browser.execute_script(script, selector)

    def plotted():
        script = "return [...document.querySelectorAll('#charts path.one')].map(path => path.getAttribute('d'))"
        return all(browser.execute_script(script)[2:])

    eventually("the pair is whole", lambda: text("#pair") == ["in-sync and filled"])
    eventually("both nodes are there", lambda: text("#nodes h2") == ["this node", "its peer"])
    for number in range(50):
        node.set(b"key:%d" % number, b"value")

    def items():
        rows = [row.split("\t", 1) for card in text("#nodes table") for row in card.splitlines()]
        return [row[1] for row in rows if row[0] == "items"]

    eventually("both have the items, without a reload of the page", lambda: items() == ["50", "50"])
    eventually("it is plotted", plotted)
    peer.kill()
    eventually("the loss shows", lambda: "replication with" in text("#pair")[0])
    eventually("and why", lambda: any("no status of the peer" in card for card in text("#nodes section")))
    complaints = [entry for entry in browser.get_log("browser") if "502" not in entry["message"]]
    assert complaints == []
    browser.save_screenshot(str(tmp_path / "page.png"))


MONITORING = TOP / "docs/monitoring"
PREFIXES = r"\b(?:memcached|paircached)_\w+"


def test_the_rules_are_in_order_and_fire_when_they_should():
    for words in [["check", "rules", "prometheus-rules.yml"], ["test", "rules", "prometheus-rules.test.yml"]]:
        done = subprocess.run(["promtool", *words], cwd=MONITORING, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_and_the_dashboard_ask_for_metrics_that_exist(pair):
    node, _ = pair
    node.set(b"key", b"value")
    there = {name for name, _ in node.metrics()}
    rules = yaml.safe_load((MONITORING / "prometheus-rules.yml").read_text())
    asked = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    assert len(queries) > 15
    assert set(re.findall(PREFIXES, " ".join([asked, *queries]))) <= there


def test_prometheus_scrapes_both_nodes_and_takes_the_rules_and_the_dashboards_queries(pair, tmp_path):
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(MONITORING / "prometheus-rules.yml")],
        "scrape_configs": [{
            "job_name": "paircached",
            "static_configs": [{"targets": [f"127.0.0.1:{node.monitor}" for node in pair]}],
        }],
    }))  # fmt: skip
    server = subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data",
         f"--web.listen-address=127.0.0.1:{port}"],
        stderr=(tmp_path / "log").open("w"),
    )  # fmt: skip

    def query(expression):
        url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            return []

    try:
        def in_sync():
            rows = query('paircached_replication_state{state="in-sync"} == 1')
            return len(rows) == 2

        eventually("both nodes are in sync as Prometheus sees it", in_sync, 40)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/rules", timeout=5) as answer:
            groups = json.load(answer)["data"]["groups"]
        assert all(rule["health"] != "err" for group in groups for rule in group["rules"])
        eventually("it has the rate of something", lambda: query("rate(memcached_read_bytes_total[10s])"), 40)
    finally:
        server.kill()
        server.wait()
