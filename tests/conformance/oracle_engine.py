"""What the engine makes of whole commands, each with the models that it names. Runs under the engine's Python.

A question has ``models`` (for each repository, the folder of its ``config.json``), and ``commands`` by name: argument
lists, from ``serve`` on. For each, the answer has what the engine would run, or under ``refused`` its words.

What ``vllm serve`` does until it starts processes is done: its parser, its checks of what was parsed, and
``create_engine_config``, which decides as it does on a node with GPUs. Repositories are local folders of the same name,
so that commands are taken as they are. Each question has a process of its own, since the engine remembers models by
name, and changes its environment as it goes.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))
oracle_args: Any = importlib.import_module("oracle_args")
checkpoints: Any = importlib.import_module("tools.testhub.checkpoints")

Answer = Callable[[Any, dict[str, Any]], dict[str, Any]]

SECONDS = 60
WORDS = 500
GPUS = 8


def prepared() -> Any:
    """Imports the engine, and seats it among GPUs; returns the parser of ``vllm``."""
    parser = oracle_args.cli_parser()
    repositories = importlib.import_module("vllm.transformers_utils.repo_utils")
    repositories.with_retry.__defaults__ = (1, 0, ())  # what isn't here won't come with time
    registry: Any = importlib.import_module("vllm.model_executor.models.registry")
    # It looks at each architecture in a new process, which takes seconds, to keep CUDA out of its own.
    registry._run_in_subprocess = lambda function: function()  # noqa: SLF001  # the engine has no other door
    # Imports the implementations of all methods of quantization, which ask where they are.
    importlib.import_module("vllm.model_executor.layers.quantization").get_quantization_config("fp8")
    seat_among_gpus(registry._LazyRegisteredModel)  # noqa: SLF001  # nor here
    return parser


def seat_among_gpus(implementation: Any) -> None:
    """What the engine would decide on CPUs (no Triton, so an older model runner) no pod with GPUs decides.

    Its own platform for CUDA decides instead, of which only what asks the driver is answered here. Implementations of
    models are imported as on CPUs, since they import kernels.
    """
    platform = importlib.import_module("vllm.platforms").current_platform
    capability = importlib.import_module("vllm.platforms.interface").DeviceCapability(9, 0)
    sys.modules["vllm._C_stable_libtorch"] = types.ModuleType("kernels for CUDA, which aren't there")
    cuda = importlib.import_module("vllm.platforms.cuda").CudaPlatformBase
    cpus = type(platform)
    gpus = type(
        "Gpus",
        (cuda,),
        {
            "get_device_capability": classmethod(lambda *_, **__: capability),
            "get_device_name": classmethod(lambda *_, **__: "NVIDIA H100 80GB HBM3"),
            "get_device_total_memory": classmethod(lambda *_, **__: 80 << 30),
            "device_count": classmethod(lambda _: GPUS),
        },
    )
    load = implementation.load_model_cls

    def load_as_on_cpus(model: Any) -> Any:
        platform.__class__ = cpus
        try:
            return load(model)
        finally:
            platform.__class__ = gpus

    implementation.load_model_cls = load_as_on_cpus
    vars(importlib.import_module("vllm.config.vllm"))["HAS_TRITON"] = True
    platform.__class__ = gpus


def outcome(parser: Any, command: list[str]) -> dict[str, Any]:
    serve = importlib.import_module("vllm.entrypoints.cli.serve").ServeSubcommand()
    engine_args = importlib.import_module("vllm.engine.arg_utils").AsyncEngineArgs
    try:
        parsed = parser.parse_args(command)
        serve.validate(parsed)
        parsed.model = parsed.model_tag
        config = engine_args.from_cli_args(parsed).create_engine_config()
    except SystemExit:
        return {"refused": "the parser ends the process"}
    except Exception as error:  # noqa: BLE001  # whatever it is, it ends the engine
        return {"refused": f"{type(error).__name__}: {error}"[:WORDS]}
    return {
        "model": config.model_config.model,
        "revision": config.model_config.revision,
        "tensor": config.parallel_config.tensor_parallel_size,
        "pipeline": config.parallel_config.pipeline_parallel_size,
        "max_model_len": config.model_config.max_model_len,
        "speculative": speculative(config.speculative_config),
    }


def speculative(config: Any) -> dict[str, Any] | None:
    if config is None:
        return None
    draft = config.draft_model_config
    return {
        "method": config.method,
        "num_speculative_tokens": config.num_speculative_tokens,
        "model": config.model,
        "revision": draft.revision if draft else None,
        "parallel_drafting": config.parallel_drafting,
        "draft_tensor_parallel_size": config.draft_tensor_parallel_size,
        "num_speculative_tokens_per_batch_size": config.num_speculative_tokens_per_batch_size,
        "architecture": draft.architecture if draft else None,
    }


def answer(parser: Any, question: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for repository, source in question["models"].items():
            Path(repository).mkdir(parents=True)
            shutil.copy(Path(source) / "config.json", repository)
            checkpoints.write_tokenizer(Path(repository))
        return {name: outcome(parser, command) for name, command in question["commands"].items()}


def in_a_process_of_its_own(answer: Answer, parser: Any, question: dict[str, Any]) -> dict[str, Any]:
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        try:
            with os.fdopen(sender, "w") as pipe:
                json.dump(answer(parser, question), pipe)
        except BaseException:  # noqa: BLE001  # a child that went on would do its parent's work
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise RuntimeError(f"the process for {question} ended with {status}")
    told: dict[str, Any] = json.loads(text)
    return told


def main(answer: Answer = answer) -> None:
    questions = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as cache:
        os.environ |= {"VLLM_CACHE_ROOT": cache, "VLLM_CONFIGURE_LOGGING": "0"}
        parser = prepared()
        answers = [in_a_process_of_its_own(answer, parser, question) for question in questions]
    sys.stdout.write("\n" + json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
