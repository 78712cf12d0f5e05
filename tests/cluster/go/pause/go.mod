module model-operator.io/tests/cluster/pause

go 1.21
