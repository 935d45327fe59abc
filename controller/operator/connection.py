"""The cluster's side of a real cluster: every Kubernetes adapter, put together."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from controller.adapters.clock import SystemClock
from controller.adapters.existing import existing_uids
from controller.adapters.kubernetes.client import Kubernetes, Rate, new_api
from controller.adapters.kubernetes.events import EventReporter
from controller.adapters.kubernetes.lease import Lease
from controller.adapters.kubernetes.pods import PodCache, PodSink
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.routes import Routes
from controller.adapters.kubernetes.scaling import KubernetesActuator
from controller.adapters.kubernetes.status import StatusReporter
from controller.adapters.kubernetes.targets import TargetCache
from controller.adapters.kubernetes.workloads import KubernetesWorkloads
from controller.adapters.kubernetes.writers import Writers
from controller.observer import ClusterObserver
from controller.operator.cluster import ClusterSide
from controller.operator.reporting import Reporters
from controller.operator.store import ObjectStore
from controller.settings import Settings

#: How often it is looked whether the threads of the watches still run.
_LOOK_SECONDS: Final = 5.0
