"""Names in clusters and in Git. Changing one breaks existing installations."""

GROUP = "model-operator.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ModelDeployment"
LIST_KIND = "ModelDeploymentList"
PLURAL = "modeldeployments"
SINGULAR = "modeldeployment"
SHORT_NAME = "mdep"
CATEGORY = "models"
CRD_NAME = f"{PLURAL}.{GROUP}"

# The names of children are <name>-v<version>-<hash>. With 40 characters, they fit into the 63 of a label.
MAX_NAME_LENGTH = 40

FIELD_MANAGER = "model-operator"

# Labels. Selectors of Deployment, Service and PodDisruptionBudget are DEPLOYMENT and TRACK, nothing else.
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_APP_NAME = "app.kubernetes.io/name"
LABEL_APP_INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "model-operator"
APP_NAME = "model-server"
LABEL_DEPLOYMENT = f"{GROUP}/deployment"
LABEL_TRACK = f"{GROUP}/track"
LABEL_REVISION = f"{GROUP}/revision"

# Deployment of the second track, and the Service for trying a candidate before it takes traffic.
SECOND_TRACK_SUFFIX = "-green"
PREVIEW_SUFFIX = "-candidate"

# Annotations of the pod template: model names do not fit into labels.
ANNOTATION_MODEL = f"{GROUP}/model"
ANNOTATION_VERSION = f"{GROUP}/version"
# Runtime of the server container: exit codes have a meaning only if our own script serves.
ANNOTATION_RUNTIME = f"{GROUP}/runtime"

# Annotation of a ControllerRevision, whose data is immutable: the verdict is added later.
ANNOTATION_VERDICT = f"{GROUP}/verdict"

# Annotation of a child whose applied body was changed by admission: a hash of the changes.
ANNOTATION_ADMITTED = f"{GROUP}/admitted"

# Requests by annotation of the ModelDeployment. Handled ones are recorded in status.handledRequests.
REQUEST_RETRY = f"{GROUP}/retry"
REQUEST_RESTART = f"{GROUP}/restart"
REQUEST_REVERT = f"{GROUP}/revert"
REQUEST_ADOPT = f"{GROUP}/adopt"

# Volumes and containers of the serving pod.
VOLUME_MODEL = "model"
VOLUME_TMP = "tmp"
VOLUME_SCRIPTS = "scripts"
VOLUME_PAYLOAD = "payload"
VOLUME_REGISTRY_CA = "model-operator-registry-ca"
VOLUME_REGISTRY_CLIENT = "model-operator-registry-client"
RESERVED_VOLUMES = (
    VOLUME_MODEL,
    VOLUME_TMP,
    VOLUME_SCRIPTS,
    VOLUME_PAYLOAD,
    VOLUME_REGISTRY_CA,
    VOLUME_REGISTRY_CLIENT,
)
CONTAINER_FETCH = "fetch"
CONTAINER_SERVER = "server"

DEFAULT_REGISTRY = "default"

# Prefixes of label and annotation keys that users can't set on the pods.
RESERVED_KEY_PREFIX = f"{GROUP}/"
RESERVED_LABELS = (LABEL_MANAGED_BY, LABEL_APP_NAME, LABEL_APP_INSTANCE)
