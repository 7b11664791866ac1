-- What Argo CD takes from the conditions of a SpeculatorDeployment; see docs/how-to/gitops.md.
local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "The operator has not seen this generation yet"}
end

local answers = {{"Stalled", "Degraded"}, {"Reconciling", "Progressing"}, {"Ready", "Healthy"}}
for _, answer in ipairs(answers) do
  for _, condition in ipairs(status.conditions or {}) do
    if condition.type == answer[1] and condition.status == "True" then
      return {status = answer[2], message = condition.reason .. ": " .. condition.message}
    end
  end
end
return {status = "Progressing", message = "Nothing is said of this generation yet"}
