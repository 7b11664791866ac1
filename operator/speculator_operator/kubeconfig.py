"""Where an API server is, and how to be let in: what a kubeconfig says, or in a pod the service account."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config.exec_provider import ExecProvider
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger
from yaml import YAMLError

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
#: What the library raises of a kubeconfig, whatever is in it.
_UNUSABLE = (config.ConfigException, OSError, ValueError, TypeError, LookupError, AttributeError, YAMLError)


class Unusable(Exception):
    """There is no kubeconfig and no service account, or nothing in it that can be used."""


async def load(kubeconfig: str | None, context: str | None) -> tuple[Configuration, str]:
    """What ``kubeconfig``, ``KUBECONFIG`` or ``~/.kube/config`` says, or where there is none of them, a pod's service
    account, with the environment's proxy; and the namespace that is meant where none is named. ``context`` is one of
    the kubeconfig's, by default its current one.

    Raises:
        Unusable
    """
    configuration, path, namespace = Configuration(), kubeconfig or _found(), "default"
    try:
        if path or context:
            path = path or ""
            _check_there(path)
            loader = KubeConfigLoader(KubeConfigMerger(path).config, active_context=context, config_base_path=None)
            _check_plugin_there(loader._user)  # noqa: SLF001 - nothing public has it
            await loader.load_and_set(configuration)
            namespace = loader.current_context["context"].get("namespace") or namespace
        else:
            config.load_incluster_config(client_configuration=configuration)
            namespace = own_namespace() or namespace
    except _UNUSABLE as error:
        where = path or "this isn't a pod, and neither KUBECONFIG nor ~/.kube/config is there"
        raise Unusable(f"{where}: {' '.join(str(error).split())}") from error
    configuration.proxy = configuration.proxy or _proxy(configuration.host)
    return configuration, namespace


def own_namespace() -> str:
    """The namespace of the pod that this runs in; empty where it is none."""
    return _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.is_file() else ""


def _found() -> str | None:
    default = Path("~/.kube/config").expanduser()
    return os.environ.get("KUBECONFIG") or (str(default) if default.exists() else None)


def _check_there(paths: str) -> None:
    """Of the files that KUBECONFIG may name, one has to be there."""
    if not any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep)):
        raise config.ConfigException("there is no such file")


def _check_plugin_there(user: Any) -> None:
    """Of a kubeconfig's user; the library would log that its credential plugin isn't there, and go on as nobody."""
    if user and user.safe_get("exec"):
        plugin = ExecProvider(user["exec"])
        command = plugin.args[0]
        if not shutil.which(command, path=plugin.env.get("PATH")):
            raise config.ConfigException(f"the credential plugin {command!r} is not on the PATH")


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address."""
    address = urlsplit(url)
    return None if proxy_bypass(address.netloc) else getproxies().get(address.scheme)
