-- The health of a ModelDeployment, for Argo CD. It uses the state of the commit (Ready) and not that of a moved alias
-- (Current). If a moved alias is rejected while the service is healthy, the health is Healthy and the message has the
-- reason. So a bad commit stops a sync and the waves after this one, and a bad alias does not.
local health = { status = "Progressing", message = "the operator has not seen it yet" }
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end

local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end

local function said(condition)
  if condition == nil then
    return ""
  end
  return condition.reason .. ": " .. (condition.message or "")
end

local seen = status.observedGeneration
if seen ~= nil and obj.metadata.generation ~= nil and seen ~= obj.metadata.generation then
  health.message = "the operator has not seen the last change yet"
  return health
end

local ready, current = found.Ready, found.Current
if found.Stalled ~= nil and found.Stalled.status == "True" then
  health.status = "Degraded"
  health.message = said(found.Stalled)
elseif obj.spec ~= nil and obj.spec.suspend == true then
  health.status = "Suspended"
  health.message = "spec.suspend is true; " .. said(ready)
elseif ready ~= nil and ready.status == "True" then
  health.status = "Healthy"
  health.message = said(ready)
  if current ~= nil and current.status ~= "True" then
    health.message = health.message .. "; not current: " .. said(current)
  end
elseif ready ~= nil and ready.reason == "WaitingForApproval" then
  -- like a paused rollout, it waits for a person
  health.status = "Suspended"
  health.message = said(ready)
elseif ready ~= nil and ready.reason == "PodsUnavailable" then
  health.status = "Degraded"
  health.message = said(ready)
else
  health.message = said(ready)
end
return health
