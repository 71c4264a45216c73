package main

import (
	"bufio"
	"bytes"
	"io"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

type verdict struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// What the strict decoder of the API server says: unknown fields, wrong types, duplicates.
	Problem string `json:"problem"`
	// Why the pods do not pass PodSecurity `restricted`.
	Restricted []string `json:"restricted"`
}

var strictDecoder = json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
	json.SerializerOptions{Yaml: true, Strict: true})

func validate(stream []byte) []verdict {
	verdicts := []verdict{}
	for _, document := range split(stream) {
		object, kind, err := strictDecoder.Decode(document, nil, nil)
		v := verdict{Restricted: []string{}}
		if kind != nil {
			v.Kind = kind.Kind
		}
		if err != nil {
			v.Problem = err.Error()
		} else {
			if named, ok := object.(metav1.Object); ok {
				v.Name = named.GetName()
			}
			v.Restricted = violations(object)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// Documents that hold more than comments.
func split(stream []byte) [][]byte {
	documents := [][]byte{}
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream)))
	for {
		document, err := reader.Read()
		if err == io.EOF {
			return documents
		}
		var content any
		if err != nil || yaml.Unmarshal(document, &content) != nil || content != nil {
			documents = append(documents, document)
		}
		if err != nil {
			return documents
		}
	}
}

func violations(object runtime.Object) []string {
	reasons := []string{}
	meta, spec := podOf(object)
	if spec == nil {
		return reasons
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return []string{err.Error()}
	}
	level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(level, meta, spec) {
		if !result.Allowed {
			reasons = append(reasons, result.ForbiddenReason+": "+result.ForbiddenDetail)
		}
	}
	return reasons
}

func podOf(object runtime.Object) (*metav1.ObjectMeta, *corev1.PodSpec) {
	switch typed := object.(type) {
	case *appsv1.Deployment:
		return &typed.Spec.Template.ObjectMeta, &typed.Spec.Template.Spec
	case *appsv1.StatefulSet:
		return &typed.Spec.Template.ObjectMeta, &typed.Spec.Template.Spec
	case *corev1.Pod:
		return &typed.ObjectMeta, &typed.Spec
	}
	return nil, nil
}
