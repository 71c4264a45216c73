{{- /*
Parts of a pod. Each takes a dict: "root" is $, "kind" is Deployment or StatefulSet (initContainers only). What it needs stands
under `warmstate` in your values:

  image: registry.example/warmstate:0.1.0
  applicationId: wordcount             # Kafka's application.id
  processingGuarantee: exactly_once_v2 # Kafka's processing.guarantee
  destination: s3://my-bucket/streams  # may be left to the ConfigMap warmstate of the namespace
  stateDir: /var/lib/kafka-streams     # Kafka's state.dir
  stateDirLimit: 20Gi                  # may be left out
  terminationGracePeriodSeconds: 120
  env: []                              # further settings

The volume `state` is an emptyDir, unless you have a volume of that name yourself and leave out warmstate.volume.
*/ -}}

{{- define "warmstate.labels" -}}
warmstate.dev/injected: "true"
{{- end -}}

{{- define "warmstate.annotations" -}}
cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes: state
backup.velero.io/backup-volumes-excludes: state
{{- end -}}

{{- define "warmstate.initContainers" -}}
{{- $warmstate := .root.Values.warmstate -}}
- name: warmstate-restore
  image: {{ required "warmstate.image is not set" $warmstate.image | quote }}
  args: [restore]
  {{- include "warmstate.settings" . | nindent 2 }}
  terminationMessagePolicy: FallbackToLogsOnError
  resources:
    requests: {cpu: 100m, memory: 256Mi}
    limits: {memory: 512Mi}
  {{- include "warmstate.securityContext" . | nindent 2 }}
  volumeMounts:
  {{- include "warmstate.volumeMount" . | nindent 2 }}
- name: warmstate
  image: {{ $warmstate.image | quote }}
  restartPolicy: Always
  args: [run]
  {{- include "warmstate.settings" . | nindent 2 }}
  ports:
  - {name: warmstate, containerPort: 10464}
  livenessProbe:
    httpGet: {path: /livez, port: warmstate}
    periodSeconds: 30
    timeoutSeconds: 10
    failureThreshold: 10
    terminationGracePeriodSeconds: 10
  lifecycle:
    preStop:
      httpGet: {path: /-/pre-stop, port: warmstate}
  terminationMessagePolicy: FallbackToLogsOnError
  resources:
    requests: {cpu: 50m, memory: 128Mi}
    limits: {memory: 512Mi}
  {{- include "warmstate.securityContext" . | nindent 2 }}
  volumeMounts:
  {{- include "warmstate.volumeMount" . | nindent 2 }}
    readOnly: true
{{- end -}}

{{- define "warmstate.settings" -}}
{{- $warmstate := .root.Values.warmstate -}}
env:
- name: WARMSTATE_STATE_DIR
  value: {{ include "warmstate.stateDir" . | quote }}
- name: WARMSTATE_APPLICATION_ID
  value: {{ required "warmstate.applicationId is not set" $warmstate.applicationId | quote }}
- name: WARMSTATE_PROCESSING_GUARANTEE
  value: {{ required "warmstate.processingGuarantee is not set" $warmstate.processingGuarantee | quote }}
{{- with $warmstate.destination }}
- name: WARMSTATE_DESTINATION
  value: {{ . | quote }}
{{- end }}
- name: WARMSTATE_LINEAGE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: WARMSTATE_INSTANCE
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: WARMSTATE_APP_VERSION
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['{{ ternary "controller-revision-hash" "pod-template-hash" (eq .kind "StatefulSet") }}']"}}
{{- with $warmstate.stateDirLimit }}
- name: WARMSTATE_STATE_DIR_LIMIT
  value: {{ . | quote }}
{{- end }}
- name: WARMSTATE_TERMINATION_GRACE_PERIOD
  value: {{ printf "%ss" (include "warmstate.terminationGracePeriodSeconds" .) | quote }}
{{- with $warmstate.env }}
{{ toYaml . }}
{{- end }}
envFrom:
- configMapRef: {name: warmstate, optional: true}
- secretRef: {name: warmstate, optional: true}
{{- end -}}

{{- define "warmstate.securityContext" -}}
securityContext:
  runAsNonRoot: true
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "warmstate.volume" -}}
- name: state
  {{- with .root.Values.warmstate.stateDirLimit }}
  emptyDir: {sizeLimit: {{ . }}}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end -}}

{{- /* Goes into the container of the application too. */ -}}
{{- define "warmstate.volumeMount" -}}
- name: state
  mountPath: {{ include "warmstate.stateDir" . | quote }}
{{- end -}}

{{- define "warmstate.stateDir" -}}
{{- .root.Values.warmstate.stateDir | default "/var/lib/kafka-streams" -}}
{{- end -}}

{{- define "warmstate.terminationGracePeriodSeconds" -}}
{{- .root.Values.warmstate.terminationGracePeriodSeconds | default 120 -}}
{{- end -}}
