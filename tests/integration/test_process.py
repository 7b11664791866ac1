"""The operator as a process: what it says of itself by probes, metrics and logs, and where it doesn't begin."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.apiproxy import ApiProxy
from tests.support.eventually import eventually
from tests.support.operator import USER, Operator
from tests.support.world import World

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("nodes")]


def values(operator: Operator) -> dict[str, float]:
    status, text = operator.ask("/metrics")
    assert status == 200
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def test_a_converged_operator_says_what_its_resources_are(world: World) -> None:
    world.apply(replicas=2)
    world.apply("plain", model={"uri": "org/verifier"})
    world.apply("wrong", engine={"args": ["--sed=1"]})
    with world.operator(log_format="json", patch="sys.argv.append('--verbose')") as operator:
        world.ready()
        world.ready("plain")
        world.becomes("wrong", Stalled=("True", "ArgsInvalid"))
        of_a = f'name="a",namespace="{world.namespace}"'

        def converged() -> dict[str, float]:
            """Metrics are up to a second older than status is, and a status older than what was drafted."""
            found = values(operator)
            assert found[f"speculator_deployment_drafts_total{{{of_a}}}"] > 0
            assert found[f"speculator_deployment_proven_replicas{{{of_a}}}"] == 2
            assert found[f"speculator_deployment_speculation_active{{{of_a}}}"] == 1
            assert found['speculator_operator_resources{condition="Stalled",status="True"}'] == 1
            assert found['speculator_operator_resources{condition="Ready",status="True"}'] == 2
            return found

        found: dict[str, float] = eventually(converged)

        def of(metric: str, labels: str) -> float | None:
            return found.get(f"speculator_deployment_{metric}{{{labels}}}")

        # Of each draft's three tokens two are accepted, the first one always.
        assert found["speculator_operator_leader"] == 1
        assert of("acceptance_length", of_a) == 3
        assert of("acceptance_rate", of_a) == pytest.approx(2 / 3)
        assert of("acceptance_rate_per_position", f'{of_a},position="0"') == 1
        drafted = of("drafts_total", of_a) or 0
        assert of("draft_tokens_total", of_a) == 3 * drafted
        assert of("accepted_tokens_total", of_a) == 2 * drafted
        assert of("accepted_tokens_per_position_total", f'{of_a},position="0"') == drafted
        assert (of("replicas", of_a), of("ready_replicas", of_a), of("speculation_active", of_a)) == (2, 2, 1)
        drafts_by = 'draft="org/draft",engine_version="0.32.0",method="eagle3"'
        assert of("info", f'{drafts_by},{of_a},num_speculative_tokens="3",verifier="org/verifier"') == 1
        said = [of("condition", f'condition="Ready",{of_a},status="{it}"') for it in ("True", "False", "Unknown")]
        assert said == [1, 0, 0]
        of_plain = of_a.replace('"a"', '"plain"')
        assert (of("speculation_active", of_plain), of("drafts_total", of_plain)) == (None, None)
        assert found['speculator_reconcile_errors_total{reason="ArgsInvalid"}'] >= 1
        assert found['rest_client_requests_total{code="200",method="PATCH"}'] > 0
        assert found["workqueue_work_duration_seconds_count"] > 0

        def well() -> None:
            for path in ("/healthz", "/readyz"):
                status, text = operator.ask(path)
                assert (status, "FAILED" in text) == (200, False), text

        eventually(well)
        world.kubectl("delete", "spd", "a", "--wait=false")
        eventually(lambda: 'name="a"' not in operator.ask("/metrics")[1])

    lines = [json.loads(line) for line in operator.log.splitlines()]
    assert {(it["namespace"], it["name"]) for it in lines if it["message"].startswith("Pinned ")} == {
        (world.namespace, "a"),
        (world.namespace, "plain"),
    }
    assert [it for it in lines if it["logger"] == "kopf.objects" and not (it["name"] and it["kind"])] == []
    assert "log_format = json" in {it["message"] for it in lines}
    user = json.loads(world.cluster.kubeconfig_for(USER).read_text())["users"][0]["user"]
    assert user["token"] not in operator.log


def test_a_pass_that_hangs_is_a_reason_to_start_anew(world: World) -> None:
    hung = """
import asyncio
from speculator_operator import replica
from speculator_operator.reconciler import Reconciler
replica.STUCK_SECONDS = 1
async def hang(self, key):
    await asyncio.Event().wait()
Reconciler.reconcile = hang
"""
    with world.operator(patch=hung) as operator:
        eventually(lambda: operator.ask("/healthz")[0] == 200)
        world.apply()

        def bad() -> None:
            status, text = operator.ask("/healthz")
            assert status == 503
            assert f"FAILED  no pass runs for longer than 1 s: the one over {world.namespace}/a has run for " in text

        eventually(bad)


def test_watches_that_ask_for_nothing_are_a_reason_to_start_anew(world: World) -> None:
    """kopf's watches of one kind end without a word, as they did up to 1.44; everything else goes on."""
    silent = """
import asyncio
from speculator_operator import handlers
handlers.DEAD_SECONDS = 4
handlers.WATCH_SECONDS = 1
from kopf._cogs.clients import watching
watch = watching.continuous_watch
async def silently(*, resource, **more):
    async for event in watch(resource=resource, **more):
        yield event
        if resource.plural == "jobs":
            await asyncio.Event().wait()
watching.continuous_watch = silently
"""
    with world.operator(patch=silent) as operator:
        eventually(lambda: operator.ask("/healthz")[0] == 200)

        def bad() -> None:
            status, text = operator.ask("/healthz")
            failed = [line.rpartition(", not for ")[0] for line in text.splitlines() if line.startswith("FAILED")]
            assert (status, failed) == (503, [f"FAILED  each watch asks anew within 4 s: jobs in {world.namespace}"])

        eventually(bad)


def test_an_api_server_that_is_away_is_no_reason_to_start_anew(world: World, proxy: ApiProxy) -> None:
    patch = "from speculator_operator import replica\nreplica.REACH_EVERY_SECONDS = 0"
    with world.operator(server=proxy.url, patch=patch) as operator:
        eventually(lambda: operator.ask("/readyz")[0] == 200)
        proxy.unavailable(60)

        def unready() -> None:
            status, text = operator.ask("/readyz")
            assert status == 503
            assert "FAILED  the API server answers, and serves SpeculatorDeployment: GET " in text

        eventually(unready)
        assert operator.ask("/healthz")[0] == 200
        proxy.unavailable(0)
        eventually(lambda: operator.ask("/readyz")[0] == 200)


@pytest.fixture
def old_cluster(tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of what says that it is Kubernetes 1.29."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"major": "1", "minor": "29+", "gitVersion": "v1.29.4-eks"}).encode()
            self.send_response(200 if self.path == "/version" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    named = {"name": "old", "context": {"cluster": "old", "user": "old"}, "user": {"token": "t"}}
    named["cluster"] = {"server": f"http://127.0.0.1:{server.server_address[1]}"}
    parts = {part: [named] for part in ("clusters", "contexts", "users")}
    path = tmp_path / "old.kubeconfig"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "old", **parts}))
    yield path
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_cluster_that_is_too_old_is_refused_at_the_start(
    world: World, old_cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.cluster, "kubeconfig_for", lambda *_, **__: old_cluster)
    with world.operator() as operator:
        eventually(lambda: not operator.running)
        assert operator.exit_code == 2
        assert "This cluster is Kubernetes 1.29; the operator needs 1.30 or newer: upgrade the cluster" in operator.log
