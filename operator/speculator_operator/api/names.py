"""What the resource, and its labels and annotations, are called."""

from __future__ import annotations

GROUP = "speculators.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "SpeculatorDeployment"
PLURAL = "speculatordeployments"

#: Set on a resource to anything new, it is resolved and rendered anew, though nothing else has changed.
REFRESH_ANNOTATION = f"{GROUP}/refresh"
#: On children and pods: the resource they belong to.
NAME_LABEL = f"{GROUP}/name"
#: On pods: the ControllerRevision whose template they run.
REVISION_LABEL = f"{GROUP}/revision"

#: On nodes: their accelerators' product, as NVIDIA's GPU feature discovery writes it.
PRODUCT_LABEL = "nvidia.com/gpu.product"
