use k8s_openapi as _;
