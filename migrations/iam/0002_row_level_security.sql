-- Row level security: users reach their own rows, admins all, the public nothing.
--
-- The document shows three policies on user_profiles and says of the rest "and others as needed".
-- Here every table of the schema has them. Requests arrive as role authenticated (with a user's
-- token) or anon (without); Supabase's service_role bypasses all of this.

-- A policy on user_roles that asks user_roles "is this an admin?" asks itself again, without end
-- (42P17). This function runs with its owner's rights, to whom the policies do not apply, so
-- the question is answered once.
CREATE OR REPLACE FUNCTION public.is_admin() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ''
AS $$
  SELECT EXISTS (
    SELECT FROM public.user_roles ur
    JOIN public.roles r ON r.id = ur.role_id
    WHERE ur.user_id = auth.uid() AND r.name = 'admin'
  )
$$;
COMMENT ON FUNCTION public.is_admin() IS 'Whether the user whose token accompanies the request has the role admin.';

ALTER TABLE public.user_profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.user_settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.user_subscriptions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.user_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.permissions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.role_permissions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.user_roles ENABLE ROW LEVEL SECURITY;

-- Calls in a policy stand in a sub-select, so that they run once a statement, not once a row.

-- Profiles: the sign-up trigger creates them, the account's deletion removes them.
CREATE POLICY "Users can view their own profile" ON public.user_profiles
  FOR SELECT TO authenticated USING (id = (SELECT auth.uid()));
CREATE POLICY "Users can update their own profile" ON public.user_profiles
  FOR UPDATE TO authenticated USING (id = (SELECT auth.uid())) WITH CHECK (id = (SELECT auth.uid()));
CREATE POLICY "Admins have full access to profiles" ON public.user_profiles
  FOR ALL TO authenticated USING ((SELECT public.is_admin())) WITH CHECK ((SELECT public.is_admin()));

-- With the document's policy alone a user could set their own role, verification and address.
CREATE OR REPLACE FUNCTION public.protect_profile_columns() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ''
AS $$
BEGIN
  IF current_user IN ('anon', 'authenticated') AND NOT public.is_admin()
     AND (NEW.id, NEW.email, NEW.role, NEW.is_verified, NEW.created_at)
         IS DISTINCT FROM (OLD.id, OLD.email, OLD.role, OLD.is_verified, OLD.created_at) THEN
    RAISE EXCEPTION 'id, email, role, is_verified and created_at of a profile cannot be changed by its user'
      USING ERRCODE = 'insufficient_privilege',
            HINT = 'Change the address through Supabase Auth; roles are given by an admin in user_roles.';
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION public.protect_profile_columns() IS 'Keeps users from changing what is not theirs to decide in their own profile.';
CREATE OR REPLACE TRIGGER protect_user_profiles_columns BEFORE UPDATE ON public.user_profiles
  FOR EACH ROW EXECUTE FUNCTION public.protect_profile_columns();

CREATE POLICY "Users can view their own settings" ON public.user_settings
  FOR SELECT TO authenticated USING (id = (SELECT auth.uid()));
CREATE POLICY "Users can update their own settings" ON public.user_settings
  FOR UPDATE TO authenticated USING (id = (SELECT auth.uid())) WITH CHECK (id = (SELECT auth.uid()));
CREATE POLICY "Admins have full access to settings" ON public.user_settings
  FOR ALL TO authenticated USING ((SELECT public.is_admin())) WITH CHECK ((SELECT public.is_admin()));

-- Subscriptions: users look, billing's events write.
CREATE POLICY "Users can view their own subscriptions" ON public.user_subscriptions
  FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
CREATE POLICY "Admins have full access to subscriptions" ON public.user_subscriptions
  FOR ALL TO authenticated USING ((SELECT public.is_admin())) WITH CHECK ((SELECT public.is_admin()));

CREATE POLICY "Users can manage their own sessions" ON public.user_sessions
  FOR ALL TO authenticated USING (user_id = (SELECT auth.uid())) WITH CHECK (user_id = (SELECT auth.uid()));
CREATE POLICY "Admins have full access to sessions" ON public.user_sessions
  FOR ALL TO authenticated USING ((SELECT public.is_admin())) WITH CHECK ((SELECT public.is_admin()));

-- Roles and permissions: a catalogue that every signed-in user may read.
CREATE POLICY "Users can view roles" ON public.roles FOR SELECT TO authenticated USING (true);
CREATE POLICY "Admins have full access to roles" ON public.roles
  FOR ALL TO authenticated USING ((SELECT public.is_admin())) WITH CHECK ((SELECT public.is_admin()));
CREATE POLICY "Users can view permissions" ON public.permissions FOR SELECT TO authenticated USING (true);
CREATE POLICY "Admins have full access to permissions" ON public.permissions
  FOR ALL TO authenticated USING ((SELECT public.is_admin())) WITH CHECK ((SELECT public.is_admin()));
CREATE POLICY "Users can view the permissions of roles" ON public.role_permissions FOR SELECT TO authenticated USING (true);
CREATE POLICY "Admins have full access to the permissions of roles" ON public.role_permissions
  FOR ALL TO authenticated USING ((SELECT public.is_admin())) WITH CHECK ((SELECT public.is_admin()));

CREATE POLICY "Users can view their own roles" ON public.user_roles
  FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
CREATE POLICY "Admins have full access to the roles of users" ON public.user_roles
  FOR ALL TO authenticated USING ((SELECT public.is_admin())) WITH CHECK ((SELECT public.is_admin()));

-- Supabase projects differ in what they open to the API roles by default; say it, and depend on
-- none of them.
REVOKE ALL ON public.user_profiles, public.user_settings, public.user_subscriptions, public.user_sessions,
  public.roles, public.permissions, public.role_permissions, public.user_roles
  FROM anon, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.user_profiles, public.user_settings, public.user_subscriptions,
  public.user_sessions, public.roles, public.permissions, public.role_permissions, public.user_roles
  TO authenticated, service_role;
GRANT USAGE ON SEQUENCE public.roles_id_seq, public.permissions_id_seq TO authenticated, service_role;

REVOKE EXECUTE ON FUNCTION public.is_admin(), public.handle_new_user(),
  public.protect_profile_columns(), public.update_updated_at_column() FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION public.is_admin() TO authenticated, service_role;
