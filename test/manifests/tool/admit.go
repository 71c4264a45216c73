package main

import (
	"context"
	"fmt"

	"os"

	v1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/client-go/kubernetes/scheme"
)

type admitted struct {
	Pod any `json:"pod"`
	// Of the condition that did not hold, or of the mutation.
	Error   string `json:"error"`
	Matched bool   `json:"matched"`
}

// Runs the policy of a file on pods as the API server does (apiserver, plugin/policy/mutating, compilation.go and
// dispatcher.go), but for bindings, selectors and the defaults of objects.
func admit(file string, stream []byte) ([]admitted, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var mutating *v1.MutatingAdmissionPolicy
	for _, document := range split(text) {
		object, _, err := strictDecoder.Decode(document, nil, nil)
		if err != nil {
			return nil, err
		}
		if found, ok := object.(*v1.MutatingAdmissionPolicy); ok {
			mutating = found
		}
	}
	if mutating == nil {
		return nil, fmt.Errorf("%s has no MutatingAdmissionPolicy", file)
	}
	result := []admitted{}
	for _, document := range split(stream) {
		object, _, err := strictDecoder.Decode(document, nil, nil)
		if err != nil {
			return nil, err
		}
		pod, ok := object.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("%T is no pod", object)
		}
		one, err := mutate(mutating, pod)
		if err != nil {
			return nil, err
		}
		result = append(result, one)
	}
	return result, nil
}

func mutate(mutating *v1.MutatingAdmissionPolicy, pod *corev1.Pod) (admitted, error) {
	ctx := context.Background()
	options := plugincel.OptionalVariableDeclarations{HasParams: mutating.Spec.ParamKind != nil}
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return admitted{}, err
	}
	variables := []plugincel.NamedExpressionAccessor{}
	for _, variable := range mutating.Spec.Variables {
		variables = append(variables, &validating.Variable{Name: variable.Name, Expression: variable.Expression})
	}
	compiler.CompileAndStoreVariables(variables, options, environment.StoredExpressions)
	conditions := []plugincel.ExpressionAccessor{}
	for i := range mutating.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&mutating.Spec.MatchConditions[i]))
	}
	ctx = compiler.CreateContext(ctx)
	kind, resource := corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithResource("pods")
	attributes := &admission.VersionedAttributes{
		Attributes:      admission.NewAttributesRecord(pod, nil, kind, pod.Namespace, pod.Name, resource, "", admission.Create, nil, false, nil),
		VersionedKind:   schema.GroupVersionKind(kind),
		VersionedObject: admission.NewLazyObject(pod),
	}
	failure := v1.Fail
	matcher := matchconditions.NewMatcher(
		compiler.CompileCondition(conditions, options, environment.StoredExpressions), &failure, "policy", "validate", mutating.Name)
	match := matcher.Match(ctx, attributes, nil, nil)
	if match.Error != nil {
		return admitted{Pod: pod, Error: match.Error.Error()}, nil
	}
	if !match.Matches {
		return admitted{Pod: pod, Error: match.FailedConditionName}, nil
	}
	options.HasPatchTypes = true
	for _, mutation := range mutating.Spec.Mutations {
		accessor := &patch.JSONPatchCondition{Expression: mutation.JSONPatch.Expression}
		patcher := patch.NewJSONPatcher(compiler.CompileMutatingEvaluator(accessor, options, environment.StoredExpressions))
		changed, err := patcher.Patch(ctx, patch.Request{
			MatchedResource:     resource,
			VersionedAttributes: attributes,
			ObjectInterfaces:    admission.NewObjectInterfacesFromScheme(scheme.Scheme),
			OptionalVariables:   plugincel.OptionalVariableBindings{},
			Namespace:           &corev1.Namespace{},
		}, celconfig.RuntimeCELCostBudget)
		if err != nil {
			return admitted{Pod: pod, Error: err.Error(), Matched: true}, nil
		}
		attributes.UpdateObject(changed)
	}
	return admitted{Pod: attributes.VersionedObject.Object(), Matched: true}, nil
}
