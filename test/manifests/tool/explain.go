package main

import (
	"context"
	"fmt"
	"os"

	v1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// What a ValidatingAdmissionPolicy of a file says of each object, as the API server evaluates it (apiserver,
// plugin/policy/validating, plugin.go and dispatcher.go), but for bindings and selectors.
func explain(file string, stream []byte) ([][]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var policy *v1.ValidatingAdmissionPolicy
	for _, document := range split(text) {
		object, _, err := strictDecoder.Decode(document, nil, nil)
		if err != nil {
			return nil, err
		}
		if found, ok := object.(*v1.ValidatingAdmissionPolicy); ok {
			policy = found
		}
	}
	if policy == nil {
		return nil, fmt.Errorf("%s has no ValidatingAdmissionPolicy", file)
	}
	result := [][]string{}
	for _, document := range split(stream) {
		object, kind, err := strictDecoder.Decode(document, nil, nil)
		if err != nil {
			return nil, err
		}
		said, err := judge(policy, object, *kind)
		if err != nil {
			return nil, err
		}
		result = append(result, said)
	}
	return result, nil
}

func judge(policy *v1.ValidatingAdmissionPolicy, object runtime.Object, kind schema.GroupVersionKind) ([]string, error) {
	options := plugincel.OptionalVariableDeclarations{HasParams: policy.Spec.ParamKind != nil}
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	variables := []plugincel.NamedExpressionAccessor{}
	for _, variable := range policy.Spec.Variables {
		variables = append(variables, &validating.Variable{Name: variable.Name, Expression: variable.Expression})
	}
	compiler.CompileAndStoreVariables(variables, options, environment.StoredExpressions)
	conditions := []plugincel.ExpressionAccessor{}
	for i := range policy.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&policy.Spec.MatchConditions[i]))
	}
	validations := make([]plugincel.ExpressionAccessor, len(policy.Spec.Validations))
	messages := make([]plugincel.ExpressionAccessor, len(policy.Spec.Validations))
	for i, validation := range policy.Spec.Validations {
		validations[i] = &validating.ValidationCondition{Expression: validation.Expression, Message: validation.Message}
		if validation.MessageExpression != "" {
			messages[i] = &validating.MessageExpressionCondition{MessageExpression: validation.MessageExpression}
		}
	}
	compile := func(expressions []plugincel.ExpressionAccessor) plugincel.ConditionEvaluator {
		return compiler.CompileCondition(expressions, options, environment.StoredExpressions)
	}
	failure := v1.Fail
	matcher := matchconditions.NewMatcher(compile(conditions), &failure, "policy", "validate", policy.Name)
	validator := validating.NewValidator(compile(validations), matcher, compile(nil), compile(messages), &failure, nil)
	meta, ok := object.(metav1.Object)
	if !ok {
		return nil, fmt.Errorf("%T has no metadata", object)
	}
	resource := schema.GroupVersionResource{Group: kind.Group, Version: kind.Version}
	attributes := &admission.VersionedAttributes{
		Attributes: admission.NewAttributesRecord(
			object, nil, kind, meta.GetNamespace(), meta.GetName(), resource, "", admission.Create, nil, false, nil),
		VersionedKind:   kind,
		VersionedObject: admission.NewLazyObject(object),
	}
	said := []string{}
	evaluated := validator.Validate(compiler.CreateContext(context.Background()), resource, attributes, nil, &corev1.Namespace{},
		celconfig.RuntimeCELCostBudget, nil)
	for _, decision := range evaluated.Decisions {
		if decision.Action != validating.ActionAdmit {
			said = append(said, decision.Message)
		}
	}
	return said, nil
}
